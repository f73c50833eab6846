//! Tables that grow, are cut and go on.

use super::*;

fn point(step: u64) -> CurvePoint {
    CurvePoint {
        step,
        tokens: step * 4096,
        loss: 7.0 / step as f64,
        rate: 1e-3,
        grad_norm: 0.5,
        by_source: vec![Some(1.0 / 3.0), step.is_multiple_of(2).then_some(2.5)],
    }
}

const SOURCES: [&str; 2] = ["math", "web, \"noisy\""];

fn write(path: &Path, steps: u64) {
    let mut file = CurveFile::create(path, &SOURCES).unwrap();
    (1..=steps).for_each(|step| file.append(&point(step)).unwrap());
    file.sync().unwrap();
}

#[test]
fn a_table_reads_back_and_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = (folder.path().join("loss.csv"), folder.path().join("whole.csv"));
    write(&whole, 30);
    let text = std::fs::read_to_string(&whole).unwrap();
    let first: Vec<&str> = text.lines().take(2).collect();
    assert_eq!(first[0], "step,tokens,loss,rate,grad_norm,loss_math,\"loss_web, \"\"noisy\"\"\"");
    assert_eq!(first[1], "1,4096,7,0.001,0.5,0.3333333333333333,");
    let curve = Curve::read(&whole).unwrap();
    assert_eq!(curve.sources, SOURCES);
    assert_eq!(curve.points, (1..=30).map(point).collect::<Vec<_>>());

    for (step, torn) in [(0, ""), (12, ""), (25, ""), (25, "26,10"), (25, "\u{feff}x")] {
        write(&path, 25);
        let content = std::fs::read_to_string(&path).unwrap() + torn;
        std::fs::write(&path, content).unwrap();
        assert_eq!(Curve::read(&path).unwrap().points.len(), 25);
        let mut file = CurveFile::resume(&path, &SOURCES, step).unwrap();
        (step + 1..=30).for_each(|step| file.append(&point(step)).unwrap());
        assert!(std::fs::read_to_string(&path).unwrap() == text, "after {step} {torn:?}");
    }
}

#[test]
fn losses_that_are_no_numbers_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loss.csv");
    let mut file = CurveFile::create(&path, &[]).unwrap();
    for loss in [f64::NAN, f64::INFINITY] {
        let step = if loss.is_nan() { 1 } else { 2 };
        file.append(&CurvePoint { loss, by_source: Vec::new(), ..point(step) }).unwrap();
    }
    let curve = Curve::read(&path).unwrap();
    assert!(curve.points[0].loss.is_nan() && curve.points[1].loss == f64::INFINITY);
    assert!(file.append(&point(3)).is_err(), "as many losses as sources");
}

#[test]
fn other_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loss.csv");
    let header = "step,tokens,loss,rate,grad_norm";
    let cases = [
        (String::new(), "found no whole line"),
        (header.to_owned(), "found no whole line"),
        ("step,loss\n".to_owned(), "line 1: expected the columns step,tokens"),
        (format!("{header},math\n"), "line 1: expected the columns"),
        (format!("{header}\n1,2,x,4,5\n"), "line 2: expected a number in the column loss, found \"x\""),
        (format!("{header}\n-1,2,3,4,5\n"), "line 2: expected a number in the column step"),
        (format!("{header},loss_a\n1,2,3,4,5,y\n"), "line 2: expected a loss or nothing"),
        (format!("{header}\n1,2,3,4\n"), "expected cells of the curve's columns"),
        (format!("{header}\n2,2,3,4,5\n2,2,3,4,5\n"), "line 3: expected a step after 2, found 2"),
    ];
    for (text, wanted) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = Curve::read(&path).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("loss.csv"), "{text:?}: {error}");
    }
    write(&path, 3);
    let error = CurveFile::resume(&path, &["math"], 2).unwrap_err().to_string();
    assert!(error.contains("expected the loss curve of the sources [\"math\"], found"), "{error}");
    let error = CurveFile::resume(&path, &SOURCES, 4).unwrap_err().to_string();
    assert!(error.contains("expected the loss curve of 4 steps, found that of 3"), "{error}");
    assert_eq!(Curve::read(&path).unwrap().points.len(), 3, "nothing was cut");
}
