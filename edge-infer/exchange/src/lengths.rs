//! Whether a data set's lengths hold, before a parser believes them.
//!
//! A parser makes room for a value as long as its header says, which may be 4 GiB in a message of forty bytes,
//! and goes as deep as sequences are nested. Here every header is walked over first, in one flat pass: each length
//! must fit into what is left, and there are only so many sequences.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

/// Most sequences in an object, nested or not; a camera's has about ten.
const MAX_SEQUENCES: usize = 128;

const UNDEFINED: u32 = u32::MAX;

const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// Whether every length in the data set (little endian, VRs explicit or implicit) fits the bytes that are there.
/// Says no to an unknown VR and to an `UN` of undefined length, too: cameras write neither.
pub(crate) fn hold(bytes: &[u8], explicit: bool) -> bool {
    walk(bytes, explicit).is_some()
}

fn walk(bytes: &[u8], explicit: bool) -> Option<()> {
    let (mut at, mut sequences, mut in_fragments) = (0, 0, false);
    while at < bytes.len() {
        let tag = Tag(u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
        if tag.group() == 0xfffe {
            let length = u32_at(bytes, at + 4)?;
            at += 8;
            match tag {
                ITEM if in_fragments => at = skip(bytes, at, length)?,
                // Whether an item ends where it says is the parser's to find out; it must fit, at least.
                ITEM if length != UNDEFINED => _ = skip(bytes, at, length)?,
                SEQUENCE_END => in_fragments = false,
                ITEM | ITEM_END => {}
                _ => return None,
            }
            continue;
        }
        let (vr, length, start) = header(bytes, at, tag, explicit)?;
        at = start;
        if tag == tags::PIXEL_DATA && length == UNDEFINED {
            in_fragments = true;
        } else if vr == VR::SQ || length == UNDEFINED {
            sequences += 1;
            if sequences > MAX_SEQUENCES || (explicit && vr != VR::SQ) {
                return None;
            }
            if length != UNDEFINED {
                skip(bytes, at, length)?;
            }
        } else {
            at = skip(bytes, at, length)?;
        }
    }
    Some(())
}

/// VR, length, and where the value starts.
fn header(bytes: &[u8], at: usize, tag: Tag, explicit: bool) -> Option<(VR, u32, usize)> {
    if !explicit {
        let known = StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed());
        return Some((known.unwrap_or(VR::UN), u32_at(bytes, at + 4)?, at + 8));
    }
    let vr = VR::from_binary([*bytes.get(at + 4)?, *bytes.get(at + 5)?])?;
    let long = matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    );
    if long {
        Some((vr, u32_at(bytes, at + 8)?, at + 12))
    } else {
        Some((vr, u32::from(u16_at(bytes, at + 6)?), at + 8))
    }
}

fn skip(bytes: &[u8], at: usize, length: u32) -> Option<usize> {
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16_at(bytes, at)?) | u32::from(u16_at(bytes, at + 2)?) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[u8] = b"\x28\x00\x10\x00US\x02\x00\x80\x00";

    #[test]
    fn a_true_data_set_holds_and_each_cut_of_it_does_not() {
        let mut set = ROWS.to_vec();
        // A sequence of undefined length with one item that holds one element, then fragments.
        set.extend_from_slice(b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff");
        set.extend_from_slice(b"\xfe\xff\x00\xe0\xff\xff\xff\xff");
        set.extend_from_slice(ROWS);
        set.extend_from_slice(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        set.extend_from_slice(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff");
        set.extend_from_slice(b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0abcd");
        set.extend_from_slice(b"\xfe\xff\xdd\xe0\0\0\0\0");
        assert!(hold(&set, true));
        let boundaries = (0..set.len()).filter(|&end| hold(&set[..end], true)).count();
        // Only between elements: after nothing, rows, sequence start, item start, rows, both ends, pixel
        // data's start, both fragments.
        assert_eq!(boundaries, 10);
    }

    #[test]
    fn a_length_beyond_the_end_does_not_hold() {
        assert!(!hold(b"\xe0\x7f\x10\x00OB\0\0\xf0\xff\xff\xff", true));
        assert!(!hold(b"\x10\x00\x10\x00\xf0\xff\xff\xff", false));
        assert!(!hold(b"\x10\x00\x10\x00ZZ\x02\x00ab", true), "no such VR");
    }

    #[test]
    fn nesting_ends_somewhere() {
        let sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";
        assert!(hold(&sequence.repeat(MAX_SEQUENCES), true));
        assert!(!hold(&sequence.repeat(MAX_SEQUENCES + 1), true));
        // The same with implicit VRs, where the dictionary knows the sequence.
        let sequence = b"\x08\x00\x40\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";
        assert!(!hold(&sequence.repeat(MAX_SEQUENCES + 1), false));
    }
}
