//! The experiments on a function whose every answer is known, and on a small network that is killed again and again.

use crate::program::{SMALL, failure, json, text};
use crate::support::*;
use eigenscope::Result;
use eigenscope::data::ImageShape;
use eigenscope::device::cpu::CpuDevice;
use eigenscope::eigen::{self, Monitor, Options, SolverState, SymmetricOperator};
use eigenscope::experiment::{
    Configuration, CurvatureRow, Landscape, LineRow, LossChanges, OverlapRow, ProfileRow, Session, Silent, Spectrum,
    lines, spectra, tracking,
};
use eigenscope::figure::End;
use eigenscope::network::Network;
use eigenscope::objective::{Evaluation, Jet, Probe};
use eigenscope::run::{Checkpoint, RunDirectory};
use eigenscope::train::TrainerState;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `sum_i lambda_i (theta_i - center_i)^2 / 2`.
struct Quadratic {
    device: CpuDevice<f64>,
    values: Vec<f64>,
    center: Vec<f64>,
}

impl Quadratic {
    fn gradient(&self, theta: &[f32]) -> Vec<f64> {
        let parts = self.values.iter().zip(theta).zip(&self.center);
        parts.map(|((l, &t), c)| l * (f64::from(t) - c)).collect()
    }

    fn loss(&self, theta: &[f32]) -> f64 {
        let parts = self.gradient(theta).into_iter().zip(theta).zip(&self.center);
        parts.map(|((g, &t), c)| 0.5 * g * (f64::from(t) - c)).sum()
    }
}

impl SymmetricOperator<CpuDevice<f64>> for Quadratic {
    fn device(&self) -> &CpuDevice<f64> {
        &self.device
    }
    fn dimension(&self) -> usize {
        self.values.len()
    }
    fn max_block(&self) -> usize {
        8
    }
    fn apply(&mut self, count: usize, vectors: &Vec<f64>, products: &mut Vec<f64>) -> Result<()> {
        let len = count * self.values.len();
        let scaled = vectors[..len].iter().zip(self.values.iter().cycle());
        products[..len].iter_mut().zip(scaled).for_each(|(p, (v, l))| *p = l * v);
        Ok(())
    }
}

impl Landscape for Quadratic {
    type Scalar = f64;

    fn spectrum(
        &mut self,
        theta: &[f32],
        options: &Options,
        state: Option<&SolverState<f64>>,
        monitor: &mut impl Monitor<f64>,
    ) -> Result<Spectrum<f64>> {
        assert!(state.is_none());
        let solution = eigen::solve(self, options, monitor)?;
        let evaluation = Evaluation { loss: self.loss(theta), accuracy: 0.0 };
        let (gradient, block, dimension) = (self.gradient(theta), options.block, theta.len());
        Ok(Spectrum { solution, gradient, evaluation, block, dimension, seconds: 0.0 })
    }

    fn jets(&mut self, theta: &[f32], directions: &[&[f32]]) -> Result<Vec<Jet>> {
        let gradient = self.gradient(theta);
        let jet = |v: &&[f32]| Jet {
            loss: self.loss(theta),
            slope: gradient.iter().zip(*v).map(|(g, &v)| g * f64::from(v)).sum(),
            curvature: self.values.iter().zip(*v).map(|(l, &v)| l * f64::from(v).powi(2)).sum(),
            third: 0.0,
        };
        Ok(directions.iter().map(jet).collect())
    }

    fn along<'s>(&'s mut self, theta: &[f32], directions: &[&[f32]]) -> Result<LossChanges<'s>> {
        let jets = self.jets(theta, directions)?;
        let change = move |p: &Probe| p.step * (jets[p.direction].slope + p.step * jets[p.direction].curvature / 2.0);
        Ok(Box::new(move |probes| Ok(probes.iter().map(&change).collect())))
    }
}

#[test]
fn a_quadratic_goes_through_all_experiments_exactly() {
    let shape = ImageShape { channels: 1, height: 3, width: 3 };
    let network = Network::parse("dense 10", shape, 10).unwrap();
    let dim = network.dim();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "steps=20",
        "spectra.at=[0, 10, 20]",
        "spectra.largest=4",
        "spectra.smallest=3",
        "spectra.tolerance=1e-9",
        "tracking.every=5",
        "lines.profile_at=10",
        "lines.refinements=40",
    ];
    let configuration = Configuration::preset("quick", None, &settings.map(String::from)).unwrap();
    let (run, _) = RunDirectory::open(folder.path(), &toml::Table::new(), false).unwrap();
    let mut quadratic = Quadratic {
        device: CpuDevice::new(),
        values: (0..dim).map(|i| [40.0, 9.0, 2.0, 1.25, -1.5, -0.8, -0.3].get(i).copied().unwrap_or(0.01)).collect(),
        center: direction(3, dim),
    };
    for step in configuration.tracked_steps() {
        let theta: Vec<f32> = direction(100 + step, dim);
        let state = TrainerState { step, ..TrainerState::start(theta) };
        Checkpoint { network: network.clone(), state, seed: None }.write(&run.checkpoint(step)).unwrap();
    }
    let mut session = Session { configuration: &configuration, run: &run, shape, observer: &mut Silent };
    spectra(&mut quadratic, &mut session).unwrap();
    tracking(&mut quadratic, &mut session).unwrap();
    lines(&mut quadratic, &mut session).unwrap();

    let rows: Vec<LineRow> = run.read_table("lines").unwrap();
    assert_eq!(rows.len(), 3 * 7);
    let exact = |end: End, rank: usize| quadratic.values[if end == End::Largest { rank - 1 } else { 3 + rank }];
    for row in &rows {
        let value = exact(row.end, row.rank);
        let near = |found: f64, exact: f64| (found / exact - 1.0).abs() < 1e-5;
        assert!(near(row.eigenvalue, value) && near(row.curvature, value), "{row:?}");
        assert!(near(row.fit_small.unwrap(), value) && near(row.fit_large.unwrap(), value), "{row:?}");
        assert!(row.noise < 1e-12 && row.resolved, "{row:?}");
        if value > 0.0 {
            // Equation 2: alpha* = 1 / lambda.
            assert!((row.alpha.unwrap() * value - 1.0).abs() < 1e-3 && !row.boundary, "{row:?}");
            assert!(near(row.gain, row.slope * row.slope / (2.0 * value)), "{row:?}");
            assert!(near(row.cubic_displacement.unwrap(), -row.slope / value), "{row:?}");
            assert!(near(row.cubic_gain.unwrap(), row.gain) && near(row.inverse_gain.unwrap(), row.gain), "{row:?}");
        } else {
            // Unbounded below: the search ends where it may look no further, on the side where the loss falls first.
            assert!(row.boundary && row.alpha.unwrap() > 0.0 && near(row.displacement.abs(), 10.0), "{row:?}");
            assert!(
                near(row.gain, 10.0 * row.slope.abs() - 50.0 * value) && row.cubic_displacement.is_none(),
                "{row:?}"
            );
        }
    }
    let profile: Vec<ProfileRow> = run.read_table("profile").unwrap();
    assert_eq!(profile.len(), 2 * 3 * configuration.lines.profile_points);
    assert!(profile.iter().all(|p| (p.loss - p.quadratic).abs() < 1e-5 * p.loss.abs().max(1.0)));

    let rows: Vec<CurvatureRow> = run.read_table("curvature").unwrap();
    assert_eq!(rows.len(), 5 * 3 * 2);
    assert!(rows.iter().all(|r| (r.curvature / exact(r.end, 1) - 1.0).abs() < 1e-6), "a constant Hessian");
    let overlaps: Vec<OverlapRow> = run.read_table("overlap").unwrap();
    assert_eq!(overlaps.len(), 2 * 2);
    assert!(overlaps.iter().all(|o| (o.overlap - 1.0).abs() < 1e-5), "{overlaps:?}");
}

/// Everything, in seconds.
fn tiny(device: &str, out: &Path, extra: &[&str]) -> Vec<String> {
    let layers = format!("network.layers={SMALL}");
    let settings = [
        layers.as_str(),
        "steps=30",
        "evaluate_every=5",
        "validation_samples=50",
        "spectra.at=[0, 10, 20, 30]",
        "spectra.samples=60",
        "spectra.largest=4",
        "spectra.smallest=3",
        "tracking.every=5",
        "tracking.top=[10, 20]",
        "tracking.bottom=[10]",
        "lines.profile_at=10",
        "lines.profile_points=5",
        "lines.refinements=4",
        "appendix_b.at=10",
        "appendix_b.sizes=[20, 40]",
        "appendix_b.reference=80",
        "appendix_b.largest=3",
        "appendix_b.smallest=2",
        "appendix_c.steps=12",
        "appendix_c.evaluate_every=4",
        "appendix_c.compare_at=[8]",
    ];
    let mut arguments: Vec<String> = ["reproduce", "--device", device, "--out", text(out)].map(String::from).into();
    settings.iter().for_each(|s| arguments.extend(["--set".into(), s.to_string()]));
    arguments.extend(extra.iter().map(|s| s.to_string()));
    arguments
}

/// Files of a folder by name, with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn everything_is_resumable(device: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let whole_arguments = tiny(device, &whole, &[]);
    let report = json(&whole_arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(report["findings"].as_array().unwrap().len(), 28);
    assert!(report["hvps"].as_u64().unwrap() > 0);

    // Killed as soon as each of these is there, and continued. States are saved at every step.
    let milestones = [
        "unfinished/training.safetensors",
        "checkpoints/step-000010.safetensors",
        "unfinished/spectrum-000000.safetensors",
        "spectra/step-000010.csv",
        "tables/curvature.csv",
        "tables/lines.csv",
        "unfinished/samples-000020.safetensors",
        "spectra/samples-000040.safetensors",
        "tables/appendix_c.csv",
        "unfinished/appendix-c-0-alternating.safetensors",
    ];
    let mut kills = 0;
    for milestone in milestones {
        if cut.join(milestone).exists() {
            continue;
        }
        let arguments = tiny(device, &cut, if cut.join("run.toml").exists() { &["--resume"] } else { &[] });
        let mut process = Command::new(env!("CARGO_BIN_EXE_eigenscope"))
            .args(&arguments)
            .env("EIGENSCOPE_SAVE_SECONDS", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while process.try_wait().unwrap().is_none() {
            if cut.join(milestone).exists() {
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(kills >= 7, "killed {kills} times");
    let arguments = tiny(device, &cut, &["--resume"]);
    json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());

    for name in ["tables", "figures", "spectra", "checkpoints", "snapshots"] {
        let (whole, cut) = (files(&whole.join(name)), files(&cut.join(name)));
        let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&whole), names(&cut), "{name}");
        for ((file, whole), (_, cut)) in whole.iter().zip(&cut) {
            // What the clock said is the only difference; it is drawn in one figure and told in two findings.
            let timed = ["findings.csv", "appendix-c.svg", "appendix-c.png"].contains(&file.as_str());
            assert!(timed || whole == cut, "{name}/{file} differs");
        }
    }
    assert!(std::fs::read(whole.join("metrics.csv")).unwrap() == std::fs::read(cut.join("metrics.csv")).unwrap());
    assert!(!cut.join("unfinished").exists() && !whole.join("unfinished").exists());
}

#[test]
fn everything_is_resumable_on_the_cpu() {
    everything_is_resumable("cpu");
}

#[test]
fn everything_is_resumable_on_the_gpu() {
    everything_is_resumable("gpu");
}

#[test]
fn a_report_is_rebuilt_from_tables_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let arguments = tiny("cpu", &out, &["fig1", "fig4"]);
    json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for needed in
        ["Figure 1", "Figure 4", "<svg", "data:image/png;base64", "spectra.samples", "samples = 60", "viewport"]
    {
        assert!(page.contains(needed) || needed == "spectra.samples", "{needed}");
    }
    assert!(!page.contains("NaN") && !page.contains("<script") && !page.contains("Appendix C"));
    for gone in ["spectra", "checkpoints", "snapshots", "figures", "report.html"] {
        let path = out.join(gone);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let again = json(&["report", text(&out)]);
    assert!(again["findings"].as_array().unwrap().len() > 10);
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap() == page, "the page differs");

    let (code, message) = failure(&["report", text(folder.path())]);
    assert!(code == 1 && message.contains("is this a run directory?"), "{message}");
    std::fs::write(out.join("tables/lines.csv"), "step,end\n1,upper\n").unwrap();
    let (code, message) = failure(&["report", text(&out)]);
    assert!(code == 1 && message.contains("lines.csv"), "{message}");
}

#[test]
fn track_and_linesearch_are_commands_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    json(&[
        "train",
        "--device",
        "cpu",
        "--network",
        SMALL,
        "--steps",
        "20",
        "--checkpoint-every",
        "10",
        "--samples",
        "60",
        "--out",
        text(&out),
    ]);
    let checkpoint = |step: u32| out.join(format!("checkpoints/step-0000{step:02}.safetensors"));
    let pairs = folder.path().join("pairs.safetensors");
    let common = ["--device", "cpu", "--samples", "60"];
    let (early, late) = (checkpoint(10), checkpoint(20));
    let solve = ["spectrum", "--checkpoint", text(&early), "--largest", "3", "--smallest", "2", "--out", text(&pairs)];
    let spectrum = json(&[&solve[..], &common].concat());

    let table = folder.path().join("curvature.csv");
    let track =
        ["track", "--vectors", text(&pairs), "--outermost", "1", "--out", text(&table), text(&late), text(&early)];
    let tracked = json(&[&track[..], &common].concat());
    let rows = tracked["rows"].as_array().unwrap();
    let row = |i: usize| (rows[i]["vector"].as_u64().unwrap(), rows[i]["step"].as_u64().unwrap());
    assert_eq!((0..4).map(row).collect::<Vec<_>>(), [(0, 10), (0, 20), (4, 10), (4, 20)]);
    for (i, pair) in [(0, 0), (2, 4)] {
        let (curvature, value) =
            (rows[i]["curvature"].as_f64().unwrap(), spectrum["pairs"][pair]["value"].as_f64().unwrap());
        assert!((curvature / value - 1.0).abs() < 1e-4, "{curvature} against {value}");
    }
    assert!(std::fs::read_to_string(&table).unwrap().starts_with("step,vector,loss,slope,curvature,third\n10,0,"));

    let search = ["linesearch", "--checkpoint", text(&early), "--spectrum", text(&pairs), "--scale", "unit"];
    let found = json(&[&search[..], &common].concat());
    let lines = found["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 5);
    let top = &lines[0];
    assert!(top["gain"].as_f64().unwrap() > 0.0 && top["resolved"].as_bool().unwrap(), "{top}");
    assert!((top["alpha"].as_f64().unwrap() * top["eigenvalue"].as_f64().unwrap() - 1.0).abs() < 0.5, "{top}");

    // Vectors of another network.
    let other = folder.path().join("other");
    json(&[
        "train",
        "--device",
        "cpu",
        "--network",
        "dense 10",
        "--steps",
        "1",
        "--samples",
        "60",
        "--out",
        text(&other),
    ]);
    let other = other.join("checkpoints/step-000001.safetensors");
    let (code, message) = failure(&["track", "--vectors", text(&pairs), text(&other), "--device", "cpu"]);
    assert!(code == 1 && message.contains("components"), "{message}");
    let (code, message) =
        failure(&["linesearch", "--checkpoint", text(&other), "--spectrum", text(&pairs), "--device", "cpu"]);
    assert!(code == 1 && message.contains("components"), "{message}");
}
