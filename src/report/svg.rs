//! Small charts as inline SVG: no script, no fonts, colours from the page's variables.

use std::fmt::Write;

use super::view::{Cell, number};
use crate::feedback::value::Worth;
use crate::util::markup::escape;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// A point of a curve: its place on the x axis, what to call it, its score.
pub(super) struct Point<'a> {
    pub x: f64,
    pub label: &'a str,
    pub cell: Cell,
}

/// Values over a series, with the 95 % interval as a band.
pub(super) fn curve(points: &[Point<'_>], x_title: &str) -> String {
    let finite = |value: &f64| value.is_finite();
    let bounds = points.iter().flat_map(|p| [Some(p.cell.value), p.cell.lo, p.cell.hi]).flatten().filter(finite);
    let Some((low, high)) = scale(bounds) else { return String::new() };
    let Some((first, last)) = range(points.iter().map(|p| p.x)) else { return String::new() };
    let x = |value: f64| LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let shown: Vec<&Point<'_>> = points.iter().filter(|p| p.cell.value.is_finite()).collect();

    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{} points, {} to {}">"#,
        shown.len(),
        number(low),
        number(high)
    );
    for fraction in [0.0, 0.5, 1.0] {
        let value = low + fraction * (high - low);
        let at = y(value);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 5.0,
            at + 3.5,
            tick(value)
        );
    }
    let banded: Vec<(f64, f64, f64)> =
        shown.iter().filter_map(|p| Some((p.x, p.cell.lo.filter(finite)?, p.cell.hi.filter(finite)?))).collect();
    if banded.len() > 1 {
        let upper = banded.iter().map(|(at, _, hi)| format!("{:.1},{:.1}", x(*at), y(*hi)));
        let lower = banded.iter().rev().map(|(at, lo, _)| format!("{:.1},{:.1}", x(*at), y(*lo)));
        let _ = write!(svg, r#"<polygon class="band" points="{}"/>"#, upper.chain(lower).collect::<Vec<_>>().join(" "));
    }
    let line: Vec<String> = shown.iter().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.cell.value))).collect();
    let _ = write!(svg, r#"<polyline class="line" points="{}"/>"#, line.join(" "));
    for point in &shown {
        let items = point.cell.n.map_or_else(String::new, |n| format!(" (n = {n})"));
        let title = format!("{}: {}{items}", escape(point.label), point.cell.shown());
        let _ = write!(
            svg,
            r#"<circle class="dot" cx="{:.1}" cy="{:.1}" r="3"><title>{title}</title></circle>"#,
            x(point.x),
            y(point.cell.value)
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{LEFT}" y="{:.1}">{}</text><text x="{:.1}" y="{:.1}" text-anchor="end">{} {}</text></svg>"#,
        HEIGHT - 7.0,
        number_of_x(first, points),
        WIDTH - RIGHT,
        HEIGHT - 7.0,
        escape(x_title),
        number_of_x(last, points),
    );
    svg
}

/// An interval on a common scale from 0 to 1, for one checkpoint's proportions.
pub(super) fn interval(cell: &Cell) -> String {
    let (Some(lo), Some(hi)) = (cell.lo, cell.hi) else { return String::new() };
    if ![lo, hi, cell.value].iter().all(|v| (0.0..=1.0).contains(v)) {
        return String::new();
    }
    let x = |value: f64| 2.0 + 116.0 * value;
    format!(
        r#"<svg class="interval" viewBox="0 0 120 12" role="img" aria-label="{} to {}"><line class="grid" x1="2" x2="118" y1="6" y2="6"/><line class="bar" x1="{:.1}" x2="{:.1}" y1="6" y2="6"/><circle class="dot" cx="{:.1}" cy="6" r="3"/></svg>"#,
        number(lo),
        number(hi),
        x(lo),
        x(hi),
        x(cell.value)
    )
}

/// A common scale for values on both sides of zero, which stands where both ends have room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    low: f64,
    high: f64,
}

impl Span {
    /// Room for all values, and for intervals as far as three times the largest value: a wide one is cut.
    pub fn of<'a>(all: impl Iterator<Item = &'a Worth>) -> Self {
        let (mut values, mut ends) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
        for worth in all {
            values = (values.0.min(worth.value), values.1.max(worth.value));
            let (low, high) = worth.interval.unwrap_or((worth.value, worth.value));
            ends = (ends.0.min(low), ends.1.max(high));
        }
        let most = 3.0 * values.1.max(-values.0).max(f64::MIN_POSITIVE);
        Self { low: ends.0.max(-most), high: ends.1.min(most) }
    }

    fn x(self, value: f64) -> f64 {
        let width = (self.high - self.low).max(f64::MIN_POSITIVE);
        2.0 + 116.0 * (value.clamp(self.low, self.high) - self.low) / width
    }
}

/// A value with its interval beside a line at zero.
pub(super) fn worth(worth: &Worth, span: Span) -> String {
    let (low, high) = worth.interval.unwrap_or((worth.value, worth.value));
    if ![low, high, worth.value].iter().all(|value| value.is_finite()) {
        return String::new();
    }
    format!(
        r#"<svg class="interval" viewBox="0 0 120 12" role="img" aria-label="{} to {}"><line class="grid" x1="{zero:.1}" x2="{zero:.1}" y1="0" y2="12"/><line class="bar" x1="{:.1}" x2="{:.1}" y1="6" y2="6"/><circle class="dot" cx="{:.1}" cy="6" r="3"/></svg>"#,
        number(low),
        number(high),
        span.x(low),
        span.x(high),
        span.x(worth.value),
        zero = span.x(0.0)
    )
}

/// A share that becomes another one: a mark for what it was, a bar for the new one's interval, a dot for the new one.
pub(super) fn share_change(before: f64, share: f64, (low, high): (f64, f64), most: f64) -> String {
    if ![before, share, low, high].iter().all(|value| (0.0..=1.0).contains(value)) || most <= 0.0 {
        return String::new();
    }
    let x = |value: f64| 2.0 + 116.0 * value / most;
    format!(
        r#"<svg class="interval" viewBox="0 0 120 12" role="img" aria-label="{} becomes {}"><line class="grid" x1="2" x2="118" y1="6" y2="6"/><line class="bar" x1="{:.1}" x2="{:.1}" y1="6" y2="6"/><line class="mark" x1="{before_x:.1}" x2="{before_x:.1}" y1="1" y2="11"/><circle class="dot" cx="{:.1}" cy="6" r="3"/></svg>"#,
        number(before),
        number(share),
        x(low),
        x(high),
        x(share),
        before_x = x(before)
    )
}

/// Smallest and largest, apart from each other.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match low.partial_cmp(&high)? {
        std::cmp::Ordering::Less => Some((low, high)),
        std::cmp::Ordering::Equal => Some((low - 0.5, high + 0.5)),
        std::cmp::Ordering::Greater => None,
    }
}

/// A number beside an axis, without zeros that say nothing.
fn tick(value: f64) -> String {
    let text = number(value);
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The whole of 0 to 1 for proportions that move by more than a third of it, so that curves side by side compare.
fn scale(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = range(values)?;
    let whole = low >= 0.0 && high <= 1.0 && high - low > 1.0 / 3.0;
    Some(if whole { (0.0, 1.0) } else { (low, high) })
}

/// The label of the point at this end of the axis.
fn number_of_x(value: f64, points: &[Point<'_>]) -> String {
    let nearest = points.iter().min_by(|a, b| (a.x - value).abs().total_cmp(&(b.x - value).abs()));
    nearest.map_or_else(String::new, |point| escape(point.label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: f64) -> Cell {
        Cell { value, stderr: Some(0.1), lo: Some(value - 0.1), hi: Some(value + 0.1), n: Some(9) }
    }

    #[test]
    fn charts_hold_every_point_and_escape_labels() {
        let points: Vec<Point<'_>> = ["a", "<script>", "c"]
            .iter()
            .enumerate()
            .map(|(i, label)| Point { x: i as f64, label, cell: cell(0.2 * i as f64) })
            .collect();
        let svg = curve(&points, "step");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script>") && svg.contains("class=\"band\""));
        assert!(interval(&cell(0.5)).contains("circle") && interval(&cell(3.0)).is_empty());
    }

    #[test]
    fn proportions_that_move_have_the_whole_scale_and_others_their_own() {
        assert_eq!(scale([0.1, 0.9].into_iter()), Some((0.0, 1.0)));
        assert_eq!(scale([0.4, 0.5].into_iter()), Some((0.4, 0.5)));
        assert_eq!(scale([0.1, 3.0].into_iter()), Some((0.1, 3.0)));
        assert_eq!(scale(std::iter::empty()), None);
        assert_eq!([0.5, 0.0, 12.5, 2e7].map(tick), ["0.5", "0", "12.5", "2.000e7"]);
    }

    #[test]
    fn values_lie_around_zero_and_shares_on_one_scale() {
        let worths = [(1.0, (-2.0, 9.0)), (-0.5, (-0.6, -0.4))].map(|(value, interval)| Worth {
            value,
            standard_error: None,
            interval: Some(interval),
        });
        let span = Span::of(worths.iter());
        // The interval that is too wide is cut at three times the largest value.
        assert_eq!(span, Span { low: -2.0, high: 3.0 });
        assert_eq!([-2.0, 0.5, 3.0, 9.0].map(|value| span.x(value)), [2.0, 60.0, 118.0, 118.0]);
        assert!(worth(&worths[0], span).contains(r#"x1="2.0" x2="118.0""#));
        let odd = Worth { value: f64::NAN, standard_error: None, interval: None };
        assert_eq!(worth(&odd, span), "");
        let none = Span::of(std::iter::empty());
        assert!(!worth(&Worth { value: 0.0, ..odd }, none).contains("NaN"));
        let change = share_change(0.1, 0.4, (0.2, 0.5), 0.5);
        assert!(change.contains(r#"class="mark" x1="25.2""#) && change.contains(r#"cx="94.8""#), "{change}");
        assert_eq!(share_change(0.1, 1.4, (0.2, 0.5), 0.5), "");
    }

    #[test]
    fn infinite_and_single_values_draw() {
        let lonely = curve(&[Point { x: 1.0, label: "only", cell: cell(0.3) }], "step");
        assert!(lonely.contains("circle") && !lonely.contains("NaN"), "{lonely}");
        let odd = curve(
            &[Point { x: 0.0, label: "a", cell: cell(f64::INFINITY) }, Point { x: 1.0, label: "b", cell: cell(1.0) }],
            "step",
        );
        assert!(!odd.contains("NaN") && !odd.contains("inf"), "{odd}");
        assert_eq!(curve(&[], "step"), "");
    }
}
