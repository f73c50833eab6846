//! Pictures of ordinary and odd curves.

use super::*;

fn curve(steps: u64, sources: usize, loss: impl Fn(u64, usize) -> f64) -> Curve {
    let point = |step| CurvePoint {
        step,
        tokens: step,
        loss: loss(step, sources),
        rate: 0.1,
        grad_norm: 1.0,
        by_source: (0..sources).map(|source| (step % 3 != 1).then(|| loss(step, source))).collect(),
    };
    let sources = (0..sources).map(|number| format!("source <{number}>")).collect();
    Curve { sources, points: (1..=steps).map(point).collect() }
}

fn falling(step: u64, source: usize) -> f64 {
    1.0 + source as f64 * 0.3 + 6.0 / (step as f64).sqrt()
}

/// Places of a line's corners.
fn corners(svg: &str, line: usize) -> Vec<(f64, f64)> {
    let points = svg.split("<polyline points=\"").nth(line + 1).unwrap().split('"').next().unwrap();
    let place = |text: &str| {
        let (x, y) = text.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    points.split_whitespace().map(place).collect()
}

#[test]
fn a_line_for_each_source_and_one_for_all_lie_inside_the_axes() {
    for axis in [StepAxis::Linear, StepAxis::Logarithmic] {
        let svg = draw(&curve(5000, 12, falling), "run <7> & more", axis);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("source &lt;").count()), (13, 13 - 1));
        assert!(svg.contains("run &lt;7&gt; &amp; more") && svg.contains("all tokens") && !svg.contains("NaN"));
        for line in 0..13 {
            let corners = corners(&svg, line);
            assert!((50..=BINS).contains(&corners.len()), "{axis:?}: {} corners", corners.len());
            let inside = |&(x, y): &(f64, f64)| {
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y)
            };
            assert!(corners.iter().all(inside), "{corners:?}");
            assert!(corners.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        }
        let tick = |text: &str| svg.contains(&format!(">{text}</text>"));
        let wanted = if axis == StepAxis::Linear { ["1000", "2000", "5000"] } else { ["1", "100", "1000"] };
        assert!(wanted.iter().all(|text| tick(text)), "{axis:?}");
    }
}

#[test]
fn losses_that_are_no_numbers_and_lonely_points_draw() {
    let broken = curve(10, 1, |step, _| if step > 5 { f64::NAN } else { 2.0 });
    let cases = [
        (broken, 2),
        (curve(1, 0, falling), 1),
        (curve(9, 1, |_, _| 0.0), 2),
        (curve(9, 1, |_, _| f64::INFINITY), 0),
        (curve(0, 2, falling), 0),
        (curve(9, 1, |step, _| step as f64 * 1e30), 2),
    ];
    for (curve, lines) in cases {
        for axis in [StepAxis::Linear, StepAxis::Logarithmic] {
            let svg = draw(&curve, "odd", axis);
            assert_eq!(svg.matches("<polyline").count(), lines);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n"));
        }
    }
}
