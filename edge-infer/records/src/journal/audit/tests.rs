//! The hash of a row is the one of its description.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::seal::tests::golden;

#[test]
fn the_hash_of_a_row_is_that_of_another_implementation() {
    let mut row = Entry {
        sequence: 7,
        at: "2026-05-01T09:30:00Z".into(),
        operator: None,
        action: "exam_recorded".into(),
        table: Some("exams".into()),
        subject: Some("2.25.1".into()),
        row_hash: Some([3; 32]),
        details: None,
    };
    assert_eq!(row.hash(&[9; 32]).as_slice(), golden("audit_row"));
    // Where one value ends and the next begins is a part of it.
    (row.table, row.subject) = (Some("exams2".into()), Some(".25.1".into()));
    assert_ne!(row.hash(&[9; 32]).as_slice(), golden("audit_row"));
}

#[test]
fn the_hash_of_a_record_tells_its_types_apart() {
    let connection = Connection::open_in_memory().unwrap();
    let hash = |values: &str| {
        let sql = format!("SELECT {values}");
        connection.query_row(&sql, (), |row| hash_of(row, 0, 0)).unwrap()
    };
    let hashes =
        ["1", "'1'", "x'31'", "1.0", "NULL", "''", "x''", "'', ''", "NULL, NULL"].map(hash);
    for (place, one) in hashes.iter().enumerate() {
        assert!(!hashes[..place].contains(one), "{place}");
    }
}
