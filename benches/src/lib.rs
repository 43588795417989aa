//! The common part of the comparisons: a row of the table, and the file for each comparison's rows.
//!
//! A comparison is a program of `src/bin` or a script beside `run`; it writes `target/bench/NAME.json`, a list of rows
//! with all samples. `table` prints the rows of all files. `peer` is a process under load, `load` measures it while
//! `http1` or `http2` asks, `laptop` is a daemon's side of the tunnel, `supervisor` runs a command supervised.

pub mod http1;
pub mod http2;
pub mod laptop;
pub mod load;
pub mod peer;
pub mod supervisor;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One figure, and the other measurements for it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub measured: String,
    /// The thing that it is compared with; empty: nothing.
    pub beside: String,
    /// The figure for the budget: a ratio, or the measured value itself.
    pub figure: f64,
    pub unit: String,
    /// `None`: for information.
    pub budget: Option<Budget>,
    /// All measurements, in order.
    pub samples: serde_json::Value,
}

/// The upper or lower limit of a figure.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

/// The median; the mean of the two in the middle if there are two. 0 for none.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Writes `target/bench/NAME.json`, below the working directory.
///
/// # Errors
///
/// The errors of writing.
pub fn write(name: &str, rows: &[Row]) -> anyhow::Result<()> {
    let folder = Path::new("target/bench");
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(rows)? + "\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        for (samples, middle) in [(&[][..], 0.0), (&[3.0], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 1.0], 2.5)]
        {
            assert_eq!(median(samples), middle, "{samples:?}");
        }
    }
}
