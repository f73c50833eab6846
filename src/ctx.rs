//! The only door to the world around a run: clock, cores, version. Results never depend on what comes through it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The instruction set that `VEVAL_ISA` asks for.
pub fn instruction_set() -> Option<String> {
    variable("VEVAL_ISA")
}

/// A variable of the environment, unless it is empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Seconds since the first call. For estimates shown to people; no result depends on it.
pub fn seconds() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Bytes that the machine could still give, as Linux estimates it.
pub fn memory_available() -> Option<usize> {
    kibibytes("/proc/meminfo", "MemAvailable:")
}

/// Bytes of memory that this process holds and that no file backs.
pub fn memory_used() -> Option<usize> {
    kibibytes("/proc/self/status", "RssAnon:")
}

/// Most bytes of memory that this process has held at once, those that files back included.
pub fn memory_peak() -> Option<usize> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// A `name: value kB` line of one of the system's tables, in bytes.
fn kibibytes(table: &str, name: &str) -> Option<usize> {
    let text = std::fs::read_to_string(table).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether somebody wants the program to stop. Long work asks now and then.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Asks long work to stop at its next resting place.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Now, in UTC, as `2026-11-24T08:15:16Z`. For people who look at a record; never compared.
pub fn now() -> String {
    format_utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Civil date from days since 1970-01-01 (Hinnant 2013, `civil_from_days`).
fn format_utc(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::format_utc;

    #[test]
    fn known_dates() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_utc(1_795_508_116), "2026-11-24T08:15:16Z");
    }
}
