//! The methods against independent solvers (`tests/golden/strategies/make.py`).
#![allow(clippy::unwrap_used)]

use super::gram::tests::assert_close;
use super::{Gram, aligned, cagrad, imtl, mgda, nash, pcgrad};
use serde::Deserialize;

/// One Gram matrix with every method's weights for it.
#[derive(Deserialize)]
struct Case {
    gram: Vec<Vec<f64>>,
    orders: Vec<Vec<usize>>,
    pcgrad: Vec<f64>,
    mgda: Vec<f64>,
    cagrad: Vec<f64>,
    imtl: Vec<f64>,
    nash: Vec<f64>,
    aligned: Vec<f64>,
}

#[test]
fn weights_are_those_of_torchjd() {
    let path = glaucoma_tests::golden("strategies/weights.json");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() >= 30);
    for case in cases {
        let gram = Gram::new(case.gram.len(), |i, j| case.gram[i][j]);
        assert_close(&pcgrad::weights(&gram, &case.orders), &case.pcgrad, 1e-9);
        assert_close(&mgda::weights(&gram), &case.mgda, 1e-4);
        assert_close(&cagrad::weights(&gram, 0.4), &case.cagrad, 1e-4);
        assert_close(&imtl::weights(&gram), &case.imtl, 1e-8);
        assert_close(&nash::weights(&gram), &case.nash, 1e-4);
        assert_close(&aligned::weights(&gram), &case.aligned, 1e-8);
    }
}
