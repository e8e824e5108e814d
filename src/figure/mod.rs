//! Figures: charts drawn as SVG text, and the same SVG turned into PNG.
//!
//! There is one way to draw a chart. [`Chart::to_svg`], [`HeatMap::to_svg`] and
//! [`Panels::to_svg`] write the SVG and [`svg_to_png`] paints that SVG with an
//! embedded font, so both formats show the same picture, byte for byte the same
//! on every machine.

mod axis;
mod bar;
mod canvas;
mod chart;
mod draw;
mod frame;
mod heat;
mod layout;
mod legend;
mod numbers;
mod palette;
mod panels;
mod portrait;
mod ramp;
mod raster;
mod report;
mod scale;
mod spectrum;

pub use bar::ColorBar;
pub use chart::{Chart, Mark, Series, Style};
pub use heat::{HeatMap, HeatScale};
pub use palette::{Color, negative_color, positive_color};
pub use panels::{Panel, Panels};
pub use portrait::{FilterBank, portrait_png};
pub use ramp::Ramp;
pub use raster::svg_to_png;
pub use report::{Picture, Report, ReportFigure, ReportFinding, ReportTable, Section, Verdict};
pub use scale::Scale;
pub use spectrum::{End, SpectrumRow, eigenvalues_over_steps};
