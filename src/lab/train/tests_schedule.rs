//! Closed forms, and what is refused.

use super::*;

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-15, "{found} {wanted}");
}

#[test]
fn every_kind_warms_up_to_its_peak_and_comes_down_to_its_floor() {
    let constant = Schedule::new(ScheduleSettings::Constant { peak: 0.4, warmup: 4 }, 100).unwrap();
    for (step, rate) in [(1, 0.1), (2, 0.2), (4, 0.4), (5, 0.4), (100, 0.4), (1000, 0.4)] {
        near(constant.rate(step), rate);
    }
    let cosine = Schedule::new(ScheduleSettings::Cosine { peak: 0.5, warmup: 10, floor: 0.1 }, 110).unwrap();
    for (step, rate) in [(1, 0.05), (10, 0.5), (60, 0.3), (35, 0.3 + 0.2 * 0.5f64.sqrt()), (110, 0.1), (111, 0.1)] {
        near(cosine.rate(step), rate);
    }
    let wsd = |shape| ScheduleSettings::Wsd { peak: 0.8, warmup: 8, decay: 16, floor: 0.0, shape };
    let linear = Schedule::new(wsd(DecayShape::Linear), 100).unwrap();
    for (step, rate) in [(8, 0.8), (50, 0.8), (84, 0.8), (85, 0.75), (88, 0.6), (92, 0.4), (100, 0.0)] {
        near(linear.rate(step), rate);
    }
    let root = Schedule::new(wsd(DecayShape::OneMinusSqrt), 100).unwrap();
    for (step, rate) in [(84, 0.8), (85, 0.6), (88, 0.4), (93, 0.2), (100, 0.0)] {
        near(root.rate(step), rate);
    }
}

#[test]
fn phases_may_fill_the_run_or_be_empty() {
    let rates = |settings, total| {
        let schedule = Schedule::new(settings, total).unwrap();
        (1..=total).map(|step| schedule.rate(step)).collect::<Vec<f64>>()
    };
    assert_eq!(rates(ScheduleSettings::Cosine { peak: 1.0, warmup: 4, floor: 0.5 }, 4), [0.25, 0.5, 0.75, 1.0]);
    assert_eq!(rates(ScheduleSettings::Cosine { peak: 1.0, warmup: 0, floor: 0.5 }, 1), [0.5]);
    let wsd = |warmup, decay| {
        let (peak, floor, shape) = (1.0, 0.0, DecayShape::Linear);
        ScheduleSettings::Wsd { peak, warmup, decay, floor, shape }
    };
    assert_eq!(rates(wsd(2, 2), 4), [0.5, 1.0, 0.5, 0.0]);
    assert_eq!(rates(wsd(0, 0), 3), [1.0; 3]);
}

#[test]
fn impossible_schedules_are_refused_with_all_their_problems() {
    let problems = |settings, total| {
        let error = Schedule::new(settings, total).unwrap_err();
        (error.diagnostics().len(), error.to_string())
    };
    let wsd =
        |peak, floor, warmup, decay| ScheduleSettings::Wsd { peak, floor, warmup, decay, shape: DecayShape::Linear };
    let (count, text) = problems(wsd(1.0, 2.0, 60, 50), 100);
    assert_eq!(count, 2, "{text}");
    assert!(text.contains("found 60 of warm-up and 50 of decay") && text.contains("floor"), "{text}");
    assert_eq!(problems(wsd(f64::NAN, 0.0, 1, u64::MAX), 100).0, 2);
    assert_eq!(problems(wsd(0.0, 0.0, 0, 0), 0).0, 2);
    assert_eq!(problems(ScheduleSettings::Constant { peak: 1.0, warmup: 2 }, 1).0, 1);
    assert_eq!(problems(ScheduleSettings::Cosine { peak: 1.0, warmup: 0, floor: f64::NAN }, 1).0, 1);
}

#[test]
fn settings_are_read_from_toml() {
    let settings: ScheduleSettings = toml::from_str("kind = \"wsd\"\npeak = 1e-3\ndecay = 10").unwrap();
    let wanted = ScheduleSettings::Wsd { peak: 1e-3, warmup: 0, decay: 10, floor: 0.0, shape: DecayShape::Linear };
    assert_eq!(settings, wanted);
    assert!(toml::from_str::<ScheduleSettings>("kind = \"wsd\"\npeak = 1e-3\ndecay = 10\nfloors = 1").is_err());
    assert!(toml::from_str::<ScheduleSettings>("kind = \"step\"\npeak = 1e-3").is_err());
}
