//! Figures, as a table for people and as JSON.

use std::{
    fmt::{self, Display},
    fs,
    path::Path,
};

use serde_json::{Value, json};

use crate::Effort;

/// All figures, in the order in which they were measured.
pub(crate) struct Report {
    figures: Vec<Figure>,
    effort: Effort,
}

struct Figure {
    section: &'static str,
    name: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    /// What it should be at most. A quick figure is not judged.
    aim: Option<f64>,
}

impl Report {
    pub(crate) const fn new(effort: Effort) -> Self {
        let figures = Vec::new();
        Self { figures, effort }
    }

    /// Adds what was measured several times, and returns the median.
    pub(crate) fn add(
        &mut self,
        section: &'static str,
        name: &str,
        unit: &'static str,
        mut values: Vec<f64>,
    ) -> f64 {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        self.figures.push(Figure {
            section,
            name: name.to_owned(),
            unit,
            median,
            least: values[0],
            most: values[values.len() - 1],
            aim: None,
        });
        median
    }

    /// Adds what was measured several times and should not be more than `aim` in the median.
    pub(crate) fn aim(
        &mut self,
        section: &'static str,
        name: &str,
        unit: &'static str,
        values: Vec<f64>,
        aim: f64,
    ) {
        self.add(section, name, unit, values);
        if let Some(figure) = self.figures.last_mut() {
            figure.aim = (!self.effort.is_quick).then_some(aim);
        }
    }

    pub(crate) fn write(&self, path: &Path) {
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        let report = json!({ "quick": self.effort.is_quick, "figures": figures });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{report:#}\n")).unwrap();
        println!("{}", path.display());
    }
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "section": self.section,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "least": self.least,
            "most": self.most,
            "aim": self.aim,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = "";
        for figure in &self.figures {
            if figure.section != section {
                section = figure.section;
                writeln!(f, "\n{section}")?;
            }
            writeln!(f, "{figure}")?;
        }
        Ok(())
    }
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            unit,
            median,
            least,
            most,
            ..
        } = self;
        let digits = if *median < 10.0 { 2 } else { 0 };
        write!(f, "  {name:<58} {median:>10.digits$} {unit:<5}")?;
        if least < most {
            write!(f, " ({least:.digits$} to {most:.digits$})")?;
        }
        match self.aim {
            Some(aim) if *median <= aim => write!(f, " at most {aim}: met"),
            Some(aim) => write!(f, " at most {aim}: MISSED"),
            None => Ok(()),
        }
    }
}
