//! Files of numpy and safetensors: read as written, and refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::ckpt::{TensorElement, TensorPlan, write_tensor_file};

/// A file as numpy writes it, with a head of one's own.
fn npy(folder: &Path, head: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join("a.npy");
    // A file of before stays as it is for those who have it open.
    let _ = std::fs::remove_file(&path);
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
    let array = GradientArray::open(&npy(folder.path(), &head("<f8"), &double), None, 1 << 30).unwrap();
    assert_eq!((array.rows(), array.width(), rows(&array)), (2, 3, wanted.map(Vec::from).to_vec()));
    let array = GradientArray::open(&npy(folder.path(), &head("<f4"), &single), None, 1 << 30).unwrap();
    assert_eq!(rows(&array)[1], [3.0, 4.0, f64::from(1e-3f32)]);
    // More rows than a block holds.
    let elsewhere = tempfile::tempdir().unwrap();
    let many =
        npy(elsewhere.path(), "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 400000)}", &vec![0; 8_000_000]);
    assert_eq!(rows(&GradientArray::open(&many, None, 1 << 30).unwrap()).len(), 5);
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
        let array = GradientArray::open(&path, tensor, 1 << 30).unwrap();
        assert_eq!((array.rows(), rows(&array)[0].clone()), (2, vec![1.5, -2.0, 0.0]));
    }
    let other = GradientArray::open(&path, None, 1 << 30).unwrap();
    let mut paired = PairedAgreement::default();
    array.for_each_pair(&other, |_, one, other| paired.add("all", one, other).map(drop)).unwrap();
    assert!(paired.finish()["all"].percentiles[0] > 0.999_999);
    let wide = GradientArray::open(&many, None, 1 << 30).unwrap();
    let message = array.for_each_pair(&wide, |_, _, _| Ok(())).unwrap_err().to_string();
    assert_eq!(message, "expected two matrices of one shape, 2 x 3, found 5 x 400000");
    let message = GradientArray::open(&path, Some("norm"), 1 << 30).unwrap_err().to_string();
    assert!(message.contains("expected a matrix norm, found grads"), "{message}");
}

/// Two matrices: opposed in the first layer, alike in the second.
#[test]
fn arrays_have_a_geometry() {
    let folder = tempfile::tempdir().unwrap();
    let matrix = |name: &str, rows: usize, row: &dyn Fn(usize) -> Vec<f64>| {
        let rows: Vec<Vec<f64>> = (0..rows).map(row).collect();
        let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let head =
            format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}", rows.len(), rows[0].len());
        (name.to_owned(), GradientArray::open(&npy(folder.path(), &head, &bytes), None, 1 << 30).unwrap())
    };
    let even = |number: usize| vec![1.0, 2.0, number as f64];
    let odd = |number: usize| vec![-1.0, 1.0, number as f64];
    let layers = || vec![("first".to_owned(), 0..1), ("second".to_owned(), 1..3)];
    let text =
        |arrays: &[(String, GradientArray)], parts| array_grams(arrays, parts, layers()).unwrap_err().to_string();
    // One after the other, as all have one path.
    let one = [matrix("even", 7, &even)];
    let narrow = [matrix("even", 7, &even), matrix("odd", 3, &|_| vec![1.0])];
    let message = text(&narrow, 7);
    for wanted in
        ["group odd: expected rows of 3 numbers as even has, found 1", "at least one item for each of 7 parts, found 3"]
    {
        assert!(message.contains(wanted), "{message}");
    }
    assert!(text(&[], 7).contains("expected at least one matrix"));
    assert!(
        array_grams(&one, 7, vec![("first".to_owned(), 0..1)]).unwrap_err().to_string().contains("found 3 numbers")
    );
    let both = [matrix("even", 7, &even), matrix("odd", 6, &odd)];
    let found = conflicts(&array_grams(&both, 6, layers()).unwrap(), &[(0, 1)]);
    assert_eq!(found.iter().map(|layer| layer.sure).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
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
        let message =
            GradientArray::open(&npy(folder.path(), &head, &vec![0; bytes]), None, 1 << 30).unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains("a.npy"), "{message}");
    }
    for content in [&b"\x93NUMPY"[..], b"\x93NUMPY\x01\x00\xff\xffxxxxx", b"hello, this is a text"] {
        let path = folder.path().join("b.npy");
        std::fs::write(&path, content).unwrap();
        let message = GradientArray::open(&path, None, 1 << 30).unwrap_err().to_string();
        assert!(message.contains("expected an array of numpy (.npy), found another file"), "{message}");
    }
}
