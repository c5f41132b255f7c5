//! The study as one self-contained HTML page: tables beside the published numbers, figures inline.

use super::case::Case;
use super::figures::{Named, label};
use super::published::{self, Published};
use super::table::{Cell, Row, rows};
use super::trial::TrialResult;
use super::{StudyConfig, StudyError};
use crate::strategy::StrategyName;
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;\
color:#222}table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #ccc;padding:.3rem \
.6rem;text-align:right}th:first-child,td:first-child{text-align:left}.published{color:#777}\
figure{margin:1.5rem 0}figcaption{color:#555}svg{max-width:100%;height:auto}code{font-size:90%}";

/// The page.
///
/// # Errors
/// A figure that cannot be drawn.
pub fn html(
    config: &StudyConfig,
    results: &[TrialResult],
    charts: &mut [Named],
    cases: &[Case],
) -> Result<String, StudyError> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Study</title>\
         <style>{STYLE}</style>\n<h1>Multi-task learning of the fundus: a study</h1>\n"
    );
    page.push_str(&introduction(config, results));
    let methods: Vec<(StrategyName, bool)> = config.methods.iter().map(|m| (*m, false)).collect();
    page.push_str("<h2>Table 1: methods, from scratch</h2>\n");
    page.push_str(&table(&rows(results, &methods), true));
    let both = [
        (StrategyName::Single, false),
        (StrategyName::Independent, false),
        (StrategyName::Single, true),
        (StrategyName::Independent, true),
    ];
    if results.iter().any(|result| result.pretrained) {
        page.push_str("<h2>Table 2: pretrained encoder</h2>\n");
        page.push_str(&table(&rows(results, &both), false));
    }
    page.push_str("<h2>Figures</h2>\n");
    for (name, chart) in charts {
        let _ = writeln!(
            page,
            "<figure>{}<figcaption>{name}: {}</figcaption></figure>",
            chart.svg()?,
            escape(&chart.title)
        );
    }
    for case in cases {
        let _ = writeln!(
            page,
            "<figure>{}<figcaption>{}: {}</figcaption></figure>",
            case.svg()?,
            case.name,
            escape(&case.caption)
        );
    }
    page.push_str(&appendix(config, results));
    page.push_str("</html>\n");
    Ok(page)
}

/// What was trained on what, and what the numbers are not.
fn introduction(config: &StudyConfig, results: &[TrialResult]) -> String {
    let training = &config.training;
    let sources: Vec<String> =
        training.data.iter().map(|s| format!("<code>{}</code>", escape(&s.label()))).collect();
    let mut text = String::new();
    if !config.remark.is_empty() {
        let _ = writeln!(text, "<p>{}</p>", escape(&config.remark));
    }
    let seeds = config.seeds.len();
    let _ = writeln!(
        text,
        "<p>{} trials are done. Network: {:?} of width {}, input {} px, batch {}, {} epochs, {seeds} \
         seeds. Data: {}. Cells are mean ± standard deviation over the seeds that are done.</p>",
        results.len(),
        training.network.encoder,
        training.network.width,
        training.input.side,
        training.batch,
        training.epochs,
        sources.join(", "),
    );
    if let Some(result) = results.first() {
        let _ = writeln!(
            text,
            "<p>Measured on {} photographs, the {}. Published numbers (grey) are of the REFUGE test \
             set with the full network at 256 px: they stand here for orientation, not for \
             comparison, unless the data are REFUGE.</p>",
            result.report.n,
            escape(&result.part)
        );
    }
    text
}

fn table(rows: &[Row], costs: bool) -> String {
    if rows.is_empty() {
        return "<p>Nothing is done yet.</p>\n".to_owned();
    }
    let cost_heads = if costs { "<th>parameters<th>s / iteration" } else { "" };
    let mut text = format!(
        "<table><tr><th>method<th>learning rate{cost_heads}<th>glaucoma AUC, %<th>(classifier \
         alone)<th>disc Dice, %<th>cup Dice, %<th>vCDR error<th>fovea error, px</tr>\n"
    );
    for row in rows {
        text.push_str(&measured(row, costs));
        if let Some(published) = published::row(row.method, row.pretrained) {
            text.push_str(&printed(published, costs));
        }
    }
    text.push_str("</table>\n");
    text
}

fn measured(row: &Row, costs: bool) -> String {
    let cell = |cell: Option<Cell>, decimals| {
        cell.map_or_else(|| "<td>–".to_owned(), |cell| format!("<td>{}", cell.text(decimals)))
    };
    let mut text = format!("<tr><td>{}<td>{:e}", name(row.method, row.pretrained), row.rate);
    if costs {
        let _ = write!(text, "<td>{:.3e}{}", row.parameters as f64, cell(row.seconds, 3));
    }
    for (value, decimals) in [
        (row.auc, 2),
        (row.classifier, 2),
        (row.disc, 2),
        (row.cup, 2),
        (row.vcdr, 3),
        (row.fovea, 2),
    ] {
        text.push_str(&cell(value, decimals));
    }
    text.push_str("</tr>\n");
    text
}

fn printed(row: &Published, costs: bool) -> String {
    let mut text =
        format!("<tr class=\"published\"><td>{}, published<td>–", name(row.method, row.pretrained));
    if costs {
        let number = |value: Option<f64>, form: fn(f64) -> String| {
            value.map_or_else(|| "<td>–".to_owned(), |value| format!("<td>{}", form(value)))
        };
        text.push_str(&number(row.parameters, |v| format!("{v:.3e}")));
        text.push_str(&number(row.seconds, |v| format!("{v:.3}")));
    }
    let pair = |(mean, sd): (f64, f64)| format!("<td>{mean:.2} ± {sd:.2}");
    let _ = writeln!(
        text,
        "{}<td>–{}{}<td>–{}</tr>",
        pair(row.auc),
        pair(row.disc),
        pair(row.cup),
        pair(row.fovea)
    );
    text
}

fn name(method: StrategyName, pretrained: bool) -> String {
    let start = if pretrained { ", pretrained" } else { "" };
    format!("{}{start}", label(method))
}

/// Every trial, and the configuration they share.
fn appendix(config: &StudyConfig, results: &[TrialResult]) -> String {
    let mut text =
        "<h2>All trials</h2>\n<table><tr><th>trial<th>s / iteration<th>waiting for data, \
                    s<th>AUC<th>disc<th>cup<th>fovea<th>validation loss</tr>\n"
            .to_owned();
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
    };
    for result in results {
        let report = &result.report;
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{:.3}<td>{:.4}<td>{}<td>{}<td>{}<td>{}<td>{:.4}</tr>",
            result.name,
            result.seconds,
            result.waited,
            number(report.glaucoma.and_then(|c| c.fused).map(|auc| auc.auc), 4),
            number(report.disc_dice.map(|s| s.mean), 4),
            number(report.cup_dice.map(|s| s.mean), 4),
            number(report.fovea_px.map(|s| s.mean), 2),
            result.chosen
        );
    }
    let shared = config.training.to_toml().unwrap_or_else(|error| error.to_string());
    let _ = writeln!(
        text,
        "</table>\n<h2>What every training has in common</h2>\n<pre>{}</pre>",
        escape(&shared)
    );
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
