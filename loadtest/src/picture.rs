//! The picture of a sale over time, as SVG: people, seats, and how long the steps took.

use std::{ops::Range, path::Path};

use anyhow::Context as _;
use plotters::{
    coord::Shift,
    prelude::{
        ChartBuilder, Color as _, DrawingArea, IntoDrawingArea as _, LineSeries, Palette,
        Palette99, PathElement, SVGBackend, SeriesLabelPosition,
    },
    style::{BLACK, WHITE},
};

use crate::{
    Report,
    tally::{Moment, Step},
};

const SIZE: (u32, u32) = (1_000, 900);
const FONT: &str = "sans-serif";
/// The steps whose times are drawn, from the join to the payment. The wait in the line is long by
/// design, and the rest is small or rare.
const STEPS: [Step; 7] = [
    Step::Join,
    Step::SeatMap,
    Step::Availability,
    Step::Accept,
    Step::Decide,
    Step::Hold,
    Step::Pay,
];

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Curve = (&'static str, Vec<(f64, f64)>);

impl Report {
    /// The picture of the sale.
    pub fn picture(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        {
            let paper = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            paper.fill(&WHITE)?;
            let panels = paper.split_evenly((3, 1));
            let until = self.moments.last().map_or(1.0, |last| last.at.as_secs_f64());
            let time = 0.0..until.max(1.0);
            draw(&panels[0], "people", &time, &self.people())?;
            draw(&panels[1], "seats left", &time, &self.seats())?;
            draw(&panels[2], "95 of 100 within, ms", &time, &self.times())?;
            paper.present()?;
        }
        Ok(svg)
    }

    /// Writes the picture to this file.
    pub fn write_picture(&self, path: &Path) -> anyhow::Result<()> {
        let picture = self.picture().context("the picture cannot be drawn")?;
        std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))
    }

    fn people(&self) -> Vec<Curve> {
        let curve = |name, of: fn(&Moment) -> u64| {
            (name, self.moments.iter().map(|m| (m.at.as_secs_f64(), count(of(m)))).collect())
        };
        vec![
            curve("in line", |moment| moment.waiting),
            curve("admitted", |moment| moment.admitted),
            curve("accepted", |moment| moment.accepted),
            curve("with seats", |moment| moment.allocated),
            curve("with tickets", |moment| moment.tickets),
        ]
    }

    fn seats(&self) -> Vec<Curve> {
        let left = self
            .moments
            .iter()
            .filter_map(|moment| Some((moment.at.as_secs_f64(), f64::from(moment.seats_left?))));
        vec![("seats left", left.collect())]
    }

    fn times(&self) -> Vec<Curve> {
        let drawn = self.paces.iter().filter(|(step, _)| STEPS.contains(step));
        let curve = |(step, pace): &(Step, Vec<(u32, std::time::Duration)>)| {
            let points = pace.iter().map(|(s, p95)| (f64::from(*s), p95.as_secs_f64() * 1e3));
            (step.label(), points.collect())
        };
        drawn.map(curve).collect()
    }
}

fn draw(panel: &Panel<'_>, title: &str, time: &Range<f64>, curves: &[Curve]) -> anyhow::Result<()> {
    let values = curves.iter().flat_map(|(_, points)| points).map(|(_, value)| *value);
    let most = values.fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(panel)
        .caption(title, (FONT, 16))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(60)
        .build_cartesian_2d(time.clone(), 0.0..most)?;
    let seconds = |second: &f64| format!("{second:.0} s");
    let whole = |value: &f64| format!("{value:.0}");
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&seconds)
        .y_label_formatter(&whole)
        .draw()?;
    for (n, (name, points)) in curves.iter().enumerate() {
        let style = Palette99::pick(n).stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}

fn count(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use crate::{Report, Tally, tally::Step};

    #[test]
    fn a_sale_has_its_curves_and_one_without_anything_an_empty_picture() {
        let tally = Tally::default();
        let empty = Report::new(&tally).picture().unwrap();
        assert!(empty.contains("</svg>"));
        for left in [Some(7), None, Some(0)] {
            tally.admitted.up();
            tally.note_moment(left);
            tally.took(Step::Accept, Instant::now());
        }
        let report = Report::new(&tally);
        assert_eq!(report.moments.len(), 4);
        assert_eq!(report.paces[0].1[0].0, 0);
        assert!(report.paces[0].1[0].1 < Duration::from_secs(1));
        let picture = report.picture().unwrap();
        for word in ["in line", "with tickets", "seats left", "booking to 202"] {
            assert!(picture.contains(word), "{word}");
        }
        let points = |picture: &str| {
            let curves = picture.split("points=\"").skip(1);
            curves.filter_map(|rest| Some(rest.split('"').next()?.split_whitespace().count())).max()
        };
        assert!(points(&empty) < Some(4));
        assert_eq!(points(&picture), Some(4), "a point for each moment");
    }
}
