//! Figures, as a table for people and as JSON.

use std::{
    fmt::{self, Display, Write as _},
    fs,
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    Effort,
    aims::{Verdict, verdicts},
    section::{NO_PROXY, Section},
};

/// All sections, in the order in which they were measured.
pub(crate) struct Report {
    sections: Vec<Section>,
    effort: Effort,
}

impl Report {
    pub(crate) const fn new(effort: Effort) -> Self {
        let sections = Vec::new();
        Self { sections, effort }
    }

    pub(crate) fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Whether somebody could not do what they had to.
    pub(crate) fn has_failures(&self) -> bool {
        let mut series = self.sections.iter().flat_map(|section| &section.series);
        series.any(|series| series.failure.is_some())
    }

    pub(crate) fn write(&self, path: &Path) {
        let sections: Vec<_> = self.sections.iter().flat_map(figures).collect();
        let aims: Vec<_> = self.verdicts().iter().map(Verdict::json).collect();
        let report = json!({ "quick": self.effort.is_quick, "figures": sections, "aims": aims });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{report:#}\n")).unwrap();
        println!("{}", path.display());
    }

    /// Quick figures are not judged.
    fn verdicts(&self) -> Vec<Verdict> {
        let judged = self.sections.iter().filter(|_| !self.effort.is_quick);
        judged.flat_map(verdicts).collect()
    }
}

fn figures(section: &Section) -> Vec<Value> {
    let ratio = |other: Option<usize>, number, at| section.ratio(number, other?, at);
    let mut figures = Vec::new();
    for (number, series) in section.series.iter().enumerate() {
        for (at, metric) in section.metrics.iter().enumerate() {
            let summary = section.summary(number, at);
            figures.push(json!({
                "section": section.title(),
                "name": series.name,
                "metric": metric.name,
                "unit": metric.unit,
                "median": summary.as_ref().map(|summary| summary.median),
                "least": summary.as_ref().map(|summary| summary.least),
                "most": summary.as_ref().map(|summary| summary.most),
                "times_no_proxy": section.ratio(number, NO_PROXY, at),
                "times_haproxy": ratio(section.haproxy(), number, at),
                "times_own": ratio(section.own(), number, at),
                "failure": series.failure,
            }));
        }
    }
    figures
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            show(f, section)?;
        }
        let verdicts = self.verdicts();
        if !verdicts.is_empty() {
            writeln!(f, "\nAims")?;
        }
        verdicts
            .iter()
            .try_for_each(|verdict| writeln!(f, "  {verdict}"))
    }
}

fn show(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    writeln!(f, "\n{}", section.title())?;
    for (at, metric) in section.metrics.iter().enumerate() {
        write!(f, "  {:<56} {:<26}", metric.name, metric.unit)?;
        for other in beside(section) {
            write!(f, "  × {:>9}", section.series[other].name)?;
        }
        writeln!(f)?;
        for number in 0..section.series.len() {
            row(f, section, number, at)?;
        }
    }
    for series in &section.series {
        if let Some(failure) = &series.failure {
            writeln!(f, "    {} FAILED: {failure}", series.name)?;
        }
    }
    Ok(())
}

/// One contestant's figure, if there is one.
fn row(f: &mut fmt::Formatter<'_>, section: &Section, number: usize, at: usize) -> fmt::Result {
    let Some(summary) = section.summary(number, at) else {
        return Ok(());
    };
    let median = amount(summary.median);
    let name = &section.series[number].name;
    let range = format!("({} to {})", amount(summary.least), amount(summary.most));
    let mut line = format!("    {name:<42} {median:>11} {range:<26}");
    for other in beside(section) {
        let ratio = section.ratio(number, other, at).filter(|_| number != other);
        let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        write!(line, "  {ratio:>11}")?;
    }
    writeln!(f, "{}", line.trim_end())
}

/// The numbers of those with whom all are compared.
fn beside(section: &Section) -> Vec<usize> {
    let all = [Some(NO_PROXY), section.haproxy(), section.own()];
    all.into_iter().flatten().collect()
}

/// With as many digits as mean something.
fn amount(value: f64) -> String {
    let digits = match value.abs() {
        small if small < 10.0 => 2,
        middling if middling < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
