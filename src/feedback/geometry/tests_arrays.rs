//! Files of numpy and safetensors: read as written, and refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::ckpt::{TensorElement, TensorPlan, write_tensor_file};

/// A file as numpy writes it, with a head of one's own.
fn npy(folder: &Path, head: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join("a.npy");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    let text = format!("{head:<width$}\n", width = (head.len() + 11).next_multiple_of(64) - 11);
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.bytes());
    file.extend(bytes);
    std::fs::write(&path, file).unwrap();
    path
}

fn rows(array: &GradientArray) -> Vec<Vec<f64>> {
    let mut rows = Vec::new();
    array
        .for_each_row(|number, row| {
            assert_eq!(number, rows.len());
            rows.push(row.to_vec());
            Ok(())
        })
        .unwrap();
    rows
}

#[test]
fn arrays_are_read_row_by_row() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = [[1.5, -2.0, 0.0], [3.0, 4.0, 1e-3]];
    let single: Vec<u8> = wanted.iter().flatten().flat_map(|&x| (x as f32).to_le_bytes()).collect();
    let double: Vec<u8> = wanted.iter().flatten().flat_map(|x: &f64| x.to_le_bytes()).collect();
    let head = |descr: &str| format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2, 3), }}");
    let array = GradientArray::open(&npy(folder.path(), &head("<f8"), &double), None).unwrap();
    assert_eq!((array.rows(), array.width(), rows(&array)), (2, 3, wanted.map(Vec::from).to_vec()));
    let array = GradientArray::open(&npy(folder.path(), &head("<f4"), &single), None).unwrap();
    assert_eq!(rows(&array)[1], [3.0, 4.0, f64::from(1e-3f32)]);
    // More rows than a block holds.
    let elsewhere = tempfile::tempdir().unwrap();
    let many =
        npy(elsewhere.path(), "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 400000)}", &vec![0; 8_000_000]);
    assert_eq!(rows(&GradientArray::open(&many, None).unwrap()).len(), 5);
    let path = folder.path().join("g.safetensors");
    let plan = |name: &str, shape: &[usize]| TensorPlan {
        name: name.to_owned(),
        element: TensorElement::F32,
        shape: shape.to_vec(),
    };
    write_tensor_file(
        &path,
        &BTreeMap::new(),
        vec![plan("grads", &[2, 3]), plan("norm", &[6])],
        |_| Ok(single.clone()),
    )
    .unwrap();
    for tensor in [None, Some("grads")] {
        let array = GradientArray::open(&path, tensor).unwrap();
        assert_eq!((array.rows(), rows(&array)[0].clone()), (2, vec![1.5, -2.0, 0.0]));
    }
    let other = GradientArray::open(&path, None).unwrap();
    let mut paired = PairedAgreement::default();
    array.for_each_pair(&other, |_, one, other| paired.add("all", one, other).map(drop)).unwrap();
    assert!(paired.finish()["all"].percentiles[0] > 0.999_999);
    let wide = GradientArray::open(&many, None).unwrap();
    let message = array.for_each_pair(&wide, |_, _, _| Ok(())).unwrap_err().to_string();
    assert_eq!(message, "expected two matrices of one shape, 2 x 3, found 5 x 400000");
    let message = GradientArray::open(&path, Some("norm")).unwrap_err().to_string();
    assert!(message.contains("expected a matrix norm, found grads"), "{message}");
}

/// Rows of two groups in a file: opposed in the first layer, alike in the second.
#[test]
fn arrays_have_a_geometry() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<[f64; 3]> = (0..12)
        .map(|number| if number % 2 == 0 { [1.0, 2.0, f64::from(number)] } else { [-1.0, 1.0, f64::from(number)] })
        .collect();
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let path = npy(folder.path(), "{'descr': '<f8', 'fortran_order': False, 'shape': (12, 3), }", &bytes);
    let array = GradientArray::open(&path, None).unwrap();
    let groups: Vec<usize> = (0..12).map(|number| number % 2).collect();
    let layers = vec![("first".to_owned(), 0..1), ("second".to_owned(), 1..3)];
    let names = || vec!["even".to_owned(), "odd".to_owned()];
    let grams = array.part_grams(names(), &groups, 6, layers.clone()).unwrap();
    let found = conflicts(&grams, &[(0, 1)]);
    assert_eq!(found.iter().map(|layer| layer.sure).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
    let text =
        |groups: &[usize], parts| array.part_grams(names(), groups, parts, layers.clone()).unwrap_err().to_string();
    assert_eq!(text(&[0], 6), "expected a group for each of 12 rows, found 1");
    assert_eq!(text(&[7; 12], 6), "expected groups below 2, found group 7");
    assert!(text(&groups, 7).contains("group even: expected at least one item for each of 7 parts, found 6"));
    let narrow = array.part_grams(names(), &groups, 4, vec![("first".to_owned(), 0..1)]).unwrap_err().to_string();
    assert!(narrow.contains("group even, item 0: expected 1 finite numbers, found 3 numbers"), "{narrow}");
}

#[test]
fn files_that_are_no_matrices_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let head = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
    };
    let cases = [
        (head("<i8", "False", "(1, 1)"), 8, "expected numbers of type '<f4' or '<f8', found '<i8'"),
        (head(">f4", "False", "(1, 1)"), 4, "found '>f4'"),
        (head("<f4", "True", "(1, 1)"), 4, "expected rows one after the other, found columns"),
        (head("<f4", "False", "(1,)"), 4, "expected a shape (n, d), found (1,)"),
        (head("<f4", "False", "(-1, 1)"), 4, "expected a shape (n, d), found (-1, 1)"),
        (head("<f4", "False", "(2, 3)"), 20, "expected the numbers of an array of shape (2, 3), found 20 bytes"),
        (head("<f4", "False", "(18446744073709551615, 9)"), 4, "expected the numbers of an array of shape"),
        (head("<f4", "False", "(4, 0)"), 0, "expected the numbers of an array of shape (4, 0)"),
        ("{}".to_owned(), 4, "found none"),
    ];
    for (head, bytes, wanted) in cases {
        let message = GradientArray::open(&npy(folder.path(), &head, &vec![0; bytes]), None).unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains("a.npy"), "{message}");
    }
    for content in [&b"\x93NUMPY"[..], b"\x93NUMPY\x01\x00\xff\xffxxxxx", b"hello, this is a text"] {
        let path = folder.path().join("b.npy");
        std::fs::write(&path, content).unwrap();
        let message = GradientArray::open(&path, None).unwrap_err().to_string();
        assert!(message.contains("expected an array of numpy (.npy), found another file"), "{message}");
    }
}
