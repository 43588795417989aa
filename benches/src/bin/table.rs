//! Prints the rows of all comparisons: `table FILE.json…`.

use bridge_benches::{Budget, Row};

fn main() -> anyhow::Result<()> {
    let mut rows = vec![["", "measured", "beside", "figure", "budget", ""].map(str::to_owned)];
    for file in std::env::args().skip(1) {
        let found: Vec<Row> = serde_json::from_slice(&std::fs::read(&file)?)?;
        rows.extend(found.into_iter().map(cells));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    for row in &rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        println!("{}", line.trim_end());
    }
    Ok(())
}

fn cells(row: Row) -> [String; 6] {
    let (budget, met) = match row.budget {
        Some(Budget::AtMost(limit)) => (format!("≤ {limit} {}", row.unit), row.figure <= limit),
        Some(Budget::AtLeast(limit)) => (format!("≥ {limit} {}", row.unit), row.figure >= limit),
        None => (String::new(), true),
    };
    let verdict = if !met {
        "MISSED"
    } else if budget.is_empty() {
        ""
    } else {
        "met"
    };
    [
        row.what,
        row.measured,
        row.beside,
        format!("{:.2} {}", row.figure, row.unit),
        budget,
        verdict.to_owned(),
    ]
}
