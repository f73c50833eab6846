//! The loss curve as a picture: one SVG file without script, fonts or style sheet.
//!
//! Steps run along the bottom, on a linear or a logarithmic axis; up to [`BINS`] mean values of consecutive steps are
//! joined to a line, thick for all tokens, thin for each source.

use std::fmt::Write;

use super::curve::{Curve, CurvePoint};
use crate::util::markup::escape;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
/// The legend stands here.
const RIGHT: f64 = 170.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Mean values that a line has at most: about one for every two pixels.
const BINS: usize = 260;
const ALL: &str = "#111111";
/// Ten colours that stay apart for people who see colours differently (Okabe and Ito 2008, and three more).
const COLOURS: [&str; 10] =
    ["#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7", "#8c6d1f", "#7f7f7f", "#6a3d9a", "#b2df8a"];
/// After ten sources lines are dashed.
const DASHES: [&str; 3] = ["none", "6 3", "2 3"];

/// How steps lie along the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepAxis {
    Linear,
    Logarithmic,
}

/// Draws a curve. Losses that are no finite numbers are left out; so is everything if no other is left.
pub fn draw(curve: &Curve, title: &str, axis: StepAxis) -> String {
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="{title}"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/><text x="{LEFT}" y="20" font-size="14" fill="#111111">{title}</text>"##,
        title = escape(title)
    );
    if let Some(frame) = Frame::around(&curve.points, axis) {
        frame.axes(&mut svg);
        // The line of all tokens lies on top.
        for (number, source) in curve.sources.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let dash = DASHES[number / COLOURS.len() % DASHES.len()];
            let stroke = format!(r#"stroke="{colour}" stroke-width="1.2" stroke-dasharray="{dash}""#);
            frame.line(&mut svg, &curve.points, |point| point.by_source.get(number).copied().flatten(), &stroke);
            legend(&mut svg, number + 1, source, &stroke);
        }
        let stroke = format!(r#"stroke="{ALL}" stroke-width="2.2""#);
        frame.line(&mut svg, &curve.points, |point| Some(point.loss), &stroke);
        legend(&mut svg, 0, "all tokens", &stroke);
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, row: usize, name: &str, stroke: &str) {
    let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 6.0 + 16.0 * row as f64);
    if y > HEIGHT - 8.0 {
        return;
    }
    let _ = write!(
        svg,
        r##"<line x1="{x}" x2="{:.1}" y1="{y}" y2="{y}" {stroke}/><text x="{:.1}" y="{:.1}" fill="#111111">{}</text>"##,
        x + 20.0,
        x + 26.0,
        y + 4.0,
        escape(&shortened(name))
    );
}

/// As much as the legend has room for.
fn shortened(name: &str) -> String {
    const ROOM: usize = 18;
    if name.chars().count() <= ROOM { name.to_owned() } else { name.chars().take(ROOM - 1).chain(['…']).collect() }
}

/// From steps and losses to places.
struct Frame {
    axis: StepAxis,
    first: u64,
    last: u64,
    /// Ticks of the losses: the least, the distance, how many.
    low: f64,
    tick: f64,
    ticks: usize,
}

impl Frame {
    fn around(points: &[CurvePoint], axis: StepAxis) -> Option<Self> {
        let losses = points.iter().flat_map(|point| point.by_source.iter().flatten().chain([&point.loss]));
        let (low, high) = losses
            .filter(|loss| loss.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &loss| (low.min(loss), high.max(loss)));
        if low > high {
            return None;
        }
        let tick = round_tick((high - low).max(1e-3 * high.abs()).max(1e-9) / 6.0);
        let floor = (low / tick).floor();
        let ticks = ((high / tick).ceil() - floor).max(1.0) as usize;
        let (first, last) = (points.first()?.step.max(1), points.last()?.step);
        Some(Self { axis, first, last: last.max(first + 1), low: floor * tick, tick, ticks })
    }

    fn x(&self, step: u64) -> f64 {
        let along = |step: u64| match self.axis {
            StepAxis::Linear => step as f64,
            StepAxis::Logarithmic => (step.max(1) as f64).ln(),
        };
        let (first, last) = (along(self.first), along(self.last));
        LEFT + (along(step) - first) / (last - first) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, loss: f64) -> f64 {
        let height = (loss - self.low) / (self.tick * self.ticks as f64);
        HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let decimals = (-self.tick.log10().floor()).max(0.0) as usize;
        for number in 0..=self.ticks {
            let loss = self.low + self.tick * number as f64;
            let y = self.y(loss);
            let _ = write!(
                svg,
                r##"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#dddddd"/><text x="{:.1}" y="{:.1}" text-anchor="end" fill="#444444">{loss:.decimals$}</text>"##,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for step in self.step_ticks() {
            let x = self.x(step);
            let _ = write!(
                svg,
                r##"<line x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{:.1}" stroke="#444444"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#444444">{step}</text>"##,
                bottom + 5.0,
                bottom + 19.0
            );
        }
        let name = match self.axis {
            StepAxis::Linear => "step",
            StepAxis::Logarithmic => "step (logarithmic)",
        };
        let _ = write!(
            svg,
            r##"<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444444"/><text x="{:.1}" y="{:.1}" text-anchor="middle" fill="#111111">{name}</text><text transform="translate(14 {:.1}) rotate(-90)" text-anchor="middle" fill="#111111">loss, nats per token</text>"##,
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            f64::midpoint(TOP, bottom)
        );
    }

    /// Steps that are named: about six, or the powers of ten.
    fn step_ticks(&self) -> Vec<u64> {
        match self.axis {
            StepAxis::Linear => {
                let tick = (round_tick((self.last - self.first) as f64 / 6.0) as u64).max(1);
                (0..=self.last / tick).map(|number| number * tick).filter(|step| *step >= self.first).collect()
            }
            StepAxis::Logarithmic => {
                let powers = (0..20).map(|power| 10u64.pow(power));
                let inside = |step: &u64| (self.first..=self.last).contains(step);
                let ticks: Vec<u64> = powers.filter(inside).collect();
                if ticks.len() > 1 { ticks } else { vec![self.first, self.last] }
            }
        }
    }

    /// Mean losses of the steps that lie in the same bin, joined.
    fn line(&self, svg: &mut String, points: &[CurvePoint], loss: impl Fn(&CurvePoint) -> Option<f64>, stroke: &str) {
        let shown = points.iter().filter_map(|point| Some((point.step, loss(point).filter(|loss| loss.is_finite())?)));
        let mut bins: Vec<(usize, f64, f64, f64)> = Vec::new();
        for (step, loss) in shown {
            let x = self.x(step);
            let bin = (((x - LEFT) / (WIDTH - LEFT - RIGHT) * BINS as f64) as usize).min(BINS - 1);
            match bins.last_mut().filter(|(last, ..)| *last == bin) {
                Some((_, xs, losses, count)) => {
                    *xs += x;
                    *losses += loss;
                    *count += 1.0;
                }
                None => bins.push((bin, x, loss, 1.0)),
            }
        }
        let places: Vec<String> = bins
            .iter()
            .map(|(_, xs, losses, count)| format!("{:.1},{:.1}", xs / count, self.y(losses / count)))
            .collect();
        let _ =
            write!(svg, r#"<polyline points="{}" fill="none" stroke-linejoin="round" {stroke}/>"#, places.join(" "));
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_tick(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|step| step * power).find(|tick| *tick >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
#[path = "tests_curve_svg.rs"]
mod tests;
