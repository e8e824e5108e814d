//! The program as a user starts it.

use crate::support::*;
use eigenscope::run::{MetricsRow, TensorFile, read_rows};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A small network on the embedded MNIST, for speed.
pub const SMALL: &str = "conv 3x3 4, conv 3x3 6, dense 12, dense 10";

fn eigenscope(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eigenscope")).args(arguments).output().unwrap()
}

pub fn json(arguments: &[&str]) -> Value {
    let output = eigenscope(&[arguments, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: not one JSON object: {e}"))
}

/// The exit code and the error's line; there must be exactly one.
pub fn failure(arguments: &[&str]) -> (i32, String) {
    let output = eigenscope(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = error.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{arguments:?} said: {error}");
    assert!(output.stdout.is_empty() && !error.contains("panicked"));
    (output.status.code().unwrap(), lines[0].to_string())
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn train(out: &Path, steps: &str, extra: &[&str]) -> Value {
    let arguments = ["train", "--device", "cpu", "--network", SMALL, "--steps", steps, "--checkpoint-every", "10"];
    json(&[&arguments[..], &["--samples", "100", "--out", text(out)], extra].concat())
}

#[test]
fn train_spectrum_and_hvp_agree() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let trained = train(&out, "20", &[]);
    let checkpoint = out.join("checkpoints/step-000020.safetensors");
    assert_eq!(trained["checkpoint"].as_str(), checkpoint.to_str());
    let rows = read_rows::<MetricsRow>(&out.join("metrics.csv")).unwrap();
    assert_eq!(rows.iter().map(|r| r.step).collect::<Vec<_>>(), (0..=20).collect::<Vec<_>>());
    assert_eq!(rows[20].subset_loss, trained["loss"].as_f64());

    let pairs = folder.path().join("pairs.safetensors");
    let common = ["--checkpoint", text(&checkpoint), "--samples", "100", "--device", "cpu"];
    let ends = ["--largest", "4", "--smallest", "3", "--out", text(&pairs)];
    let spectrum = json(&[&["spectrum"][..], &common, &ends].concat());
    assert_eq!(spectrum["loss"].as_f64().unwrap(), trained["loss"].as_f64().unwrap());
    let listed: Vec<f64> = spectrum["pairs"].as_array().unwrap().iter().map(|p| p["value"].as_f64().unwrap()).collect();
    assert_eq!(listed.len(), 7);
    assert!(listed.is_sorted_by(|a, b| a >= b) && listed[0] > 0.0 && listed[6] < 0.0, "{listed:?}");
    assert!(spectrum["pairs"].as_array().unwrap().iter().all(|p| p["status"] == "converged"));
    assert!(spectrum["hvps"].as_u64().unwrap() > 0 && spectrum["seconds"].as_f64().unwrap() > 0.0);

    // The stored eigenvectors, multiplied by `hvp` in f64, give the stored eigenvalues back.
    let file = TensorFile::read(&pairs).unwrap();
    let (k, d) = (7, file.get("gradient").unwrap().shape[0]);
    let eigenvectors = file.get("eigenvectors").unwrap();
    assert_eq!(eigenvectors.shape, [k, d]);
    let mut vectors = TensorFile::default();
    vectors.insert("vectors", &[k, d], eigenvectors.data.clone());
    let (input, output) = (folder.path().join("v.safetensors"), folder.path().join("o.safetensors"));
    vectors.write(&input).unwrap();
    let files = ["--vectors", text(&input), "--out", text(&output), "--precision", "f64"];
    json(&[&["hvp"][..], &common, &files].concat());
    let output = TensorFile::read(&output).unwrap();
    let loss: f64 = output.metadata["loss"].parse().unwrap();
    assert!((loss / spectrum["loss"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let (products, vectors) = (output.get("products").unwrap().data.to_f64(), eigenvectors.data.to_f64());
    for i in 0..k {
        let (v, hv) = (&vectors[i * d..(i + 1) * d], &products[i * d..(i + 1) * d]);
        let residual = norm(v.iter().zip(hv).map(|(v, hv)| hv - listed[i] * v));
        assert!(residual <= 1.1e-3 * listed[i].abs().max(1e-3 * listed[0]), "pair {i}: residual {residual}");
        assert!((norm(v.iter().copied()) - 1.0).abs() < 1e-5);
        let largest = v.iter().fold(0.0f64, |m, &x| if x.abs() > m.abs() { x } else { m });
        assert!(largest > 0.0, "the largest component of vector {i} is {largest}");
    }
}

#[test]
fn a_resumed_training_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    train(&whole, "30", &[]);
    train(&cut, "30", &[]);
    // As if it had been killed after step 10: later files gone, the metrics cut short.
    std::fs::remove_file(cut.join("checkpoints/step-000020.safetensors")).unwrap();
    std::fs::remove_file(cut.join("checkpoints/step-000030.safetensors")).unwrap();
    train(&cut, "30", &["--resume"]);
    for file in ["metrics.csv", "run.toml", "checkpoints/step-000030.safetensors"] {
        assert!(std::fs::read(whole.join(file)).unwrap() == std::fs::read(cut.join(file)).unwrap(), "{file} differs");
    }
    // A longer training may go on from a shorter one.
    train(&cut, "40", &["--resume"]);
    assert!(cut.join("checkpoints/step-000040.safetensors").exists());
}

#[test]
fn wrong_usage_exits_with_two_and_failure_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = text(folder.path()).to_string() + "/new";
    let missing = "no/such/file.safetensors";
    for (arguments, code, hint) in [
        (vec!["train", "--steps", "5", "--out", &out, "--device", "tpu"], 2, "auto, cpu, gpu"),
        (vec!["train", "--steps", "5", "--out", &out, "--network", "dense 3"], 2, "dense 10"),
        (vec!["train", "--steps", "5", "--out", &out, "--samples", "50001"], 2, "50000"),
        (vec!["train", "--steps", "5", "--out", &out, "--data", "no/such/dir"], 1, "no/such/dir"),
        (vec!["train", "--steps", "5", "--out", &out, "--dataset", "svhn"], 2, "mnist, idx, cifar10"),
        (vec!["train", "--steps", "5", "--out", &out, "--checkpoint-every", "0"], 2, "at least 1"),
        (vec!["spectrum", "--checkpoint", missing], 1, missing),
        (vec!["hvp", "--checkpoint", missing, "--vectors", missing, "--out", &out], 1, missing),
        (vec!["reproduce", "fig1", "--set", "spectra.sampels=3", "--out", &out], 2, "sampels"),
        (vec!["reproduce", "fig2", "--set", "tracking.top=[3]", "--out", &out], 2, "tracking.top has step 3"),
        (vec!["reproduce", "--set", "appendix_b.reference=60000", "--out", &out], 2, "50000"),
        (vec!["reproduce", "fig1", "--set", "network.layers=bogus", "--out", &out], 2, "bogus"),
        (vec!["reproduce", "fig7", "--out", &out], 2, "fig7"),
        (vec!["reproduce", "--config", missing, "--out", &out], 1, missing),
        (vec!["bench", "hvp", "--block", "0", "--samples", "1", "--network", SMALL, "--device", "cpu"], 2, "--block"),
        (vec!["bench", "hvp", "--device", "gpu", "--precision", "f64"], 2, "--device cpu"),
        (vec!["train", "--steps", "many", "--out", &out], 2, "many"),
    ] {
        let (got, message) = failure(&arguments);
        assert!(got == code && message.contains(hint), "{arguments:?}: exit {got}, {message}");
    }
    assert!(!Path::new(&out).exists(), "a refused command leaves nothing behind");
}

#[test]
fn the_roofline_lists_every_kernel_of_a_product() {
    let problem = ["--samples", "8", "--block", "2", "--repeats", "1", "--network", SMALL];
    let bench = json(&[&["bench", "kernels", "--device", "gpu", "--check"], &problem[..]].concat());
    for field in ["flop_per_s", "bytes_per_s", "host_seconds"] {
        assert!(bench[field].as_f64().unwrap() > 0.0, "{field}");
    }
    let kernels = bench["kernels"].as_array().unwrap();
    let named = |name: &str| kernels.iter().filter(|k| k["kernel"] == name).collect::<Vec<_>>();
    // Two conv blocks, two dense layers, and the whole.
    assert_eq!((named("conv_tangent").len(), named("dense_tangent").len(), named("whole product").len()), (2, 2, 1));
    // The first dense layer: two products of 294 x 12 for 8 samples and 2 directions, two operations each.
    assert_eq!(named("dense_tangent")[0]["flop"].as_f64().unwrap(), (2 * 2 * 294 * 12 * 8 * 2) as f64);
    assert!(kernels.iter().all(|k| k["seconds"].as_f64().unwrap() > 0.0), "{kernels:?}");
    let (code, message) = failure(&[&["bench", "kernels", "--device", "cpu"], &problem[..]].concat());
    assert_eq!(code, 2);
    assert!(message.contains("--device gpu"), "{message}");
}

#[test]
fn devices_and_bench_report() {
    let devices = json(&["devices"]);
    assert!(devices["auto"].is_string() && devices["adapters"].is_array());
    let bench = json(&["bench", "hvp", "--samples", "20", "--block", "2", "--network", SMALL, "--device", "cpu"]);
    for field in ["hvp_per_s", "gflop_per_s", "grad_per_s", "loss_per_s", "seconds", "preparation_seconds"] {
        assert!(bench[field].as_f64().unwrap() > 0.0, "{field}");
    }
}

#[test]
fn a_killed_solve_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    train(&folder.path().join("run"), "10", &[]);
    let checkpoint = folder.path().join("run/checkpoints/step-000010.safetensors");
    let solve = |name: &str| {
        let file = |extension: &str| folder.path().join(name).with_extension(extension);
        let mut command = Command::new(env!("CARGO_BIN_EXE_eigenscope"));
        command.args(["spectrum", "--device", "cpu", "--checkpoint", text(&checkpoint), "--samples", "3000"]);
        command.args(["--largest", "8", "--smallest", "6", "--tolerance", "1e-4", "--save-every", "6", "--resume"]);
        command.arg("--state").arg(file("state")).arg("--log").arg(file("csv")).arg("--out").arg(file("pairs"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        (command, file("state"), file("csv"), file("pairs"))
    };
    let (mut whole, _, whole_log, whole_pairs) = solve("whole");
    assert!(whole.status().unwrap().success());

    let (mut cut, state, cut_log, cut_pairs) = solve("cut");
    let mut kills = 0;
    for _ in 0..200 {
        let before = std::fs::metadata(&state).and_then(|m| m.modified()).ok();
        let mut process = cut.spawn().unwrap();
        // Kill it as soon as it has saved once more: in the search, in the guard, wherever it stands then.
        let finished = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break Some(status);
            }
            if std::fs::metadata(&state).and_then(|m| m.modified()).ok() != before {
                process.kill().unwrap();
                process.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        match finished {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => kills += 1,
        }
    }
    assert!(kills >= 5, "killed {kills} times");
    assert!(std::fs::read(&whole_pairs).unwrap() == std::fs::read(&cut_pairs).unwrap(), "the pairs differ");
    assert!(std::fs::read(&whole_log).unwrap() == std::fs::read(&cut_log).unwrap(), "the convergence logs differ");
    let log = std::fs::read_to_string(&cut_log).unwrap();
    assert!(log.starts_with("hvps,phase,basis") && log.contains("search") && log.contains("guard"), "{log}");

    // A state is not taken up by another solve.
    let other = ["spectrum", "--device", "cpu", "--checkpoint", text(&checkpoint), "--samples", "2999"];
    let (code, message) = failure(&[&other[..], &["--state", text(&state), "--resume"]].concat());
    assert!(code == 2 && message.contains("another solve"), "{message}");
}

#[test]
fn a_budget_a_judge_and_an_automatic_block() {
    let folder = tempfile::tempdir().unwrap();
    train(&folder.path().join("run"), "10", &[]);
    let checkpoint = folder.path().join("run/checkpoints/step-000010.safetensors");
    let spectrum = |extra: &[&str]| {
        let common = ["spectrum", "--device", "cpu", "--checkpoint", text(&checkpoint), "--samples", "100"];
        json(&[&common[..], extra].concat())
    };
    let statuses = |report: &Value| {
        let status = |p: &Value| p["status"].as_str().unwrap().to_string();
        report["pairs"].as_array().unwrap().iter().map(status).collect::<Vec<_>>()
    };
    let cut = spectrum(&["--max-hvps", "16", "--tolerance", "1e-5"]);
    assert!(cut["hvps"].as_u64().unwrap() <= 16 && statuses(&cut).contains(&"budget-spent".into()));
    assert_eq!(cut["guard"], "not-finished");
    let sketched = spectrum(&["--certify", "sketch"]);
    assert_eq!((sketched["certified"].as_str(), sketched["verification_hvps"].as_u64()), (Some("sketch"), Some(4)));
    assert!(statuses(&sketched).iter().all(|s| s == "converged"), "{sketched}");
    // A file has vectors, which change nothing of what is printed but how far they are from orthonormal, and the last digits.
    let file = folder.path().join("vectors.safetensors");
    let with_vectors = spectrum(&["--certify", "sketch", "--out", text(&file)]);
    assert!(file.exists() && with_vectors["orthogonality"].as_f64().unwrap() < 1e-6);
    let values =
        |report: &Value| report["pairs"].as_array().unwrap().iter().map(|p| p["value"].as_f64()).collect::<Vec<_>>();
    assert_eq!(values(&with_vectors), values(&sketched));
    let judged = spectrum(&["--certify", "f64", "--block", "auto"]);
    assert_eq!(judged["certified"], "f64");
    assert!([1, 2].contains(&judged["block"].as_u64().unwrap()));
    assert!(statuses(&judged).iter().all(|s| s == "converged"), "{judged}");
    assert!(judged["orthogonality"].as_f64().unwrap() < 5e-6);
    let pair = &judged["pairs"][0];
    assert!(pair["value_bound"].as_f64().unwrap() <= pair["residual"].as_f64().unwrap());
    assert!(pair["angle_bound_rad"].as_f64().unwrap() < 0.1);
}

#[test]
fn a_network_that_the_gpu_refuses_leaves_no_run_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // Sums of 50 x 27 x 27 terms are more than a GPU's kernel loops over.
    let network = "conv 27x27 50, dense 10";
    let (code, message) =
        failure(&["train", "--device", "gpu", "--network", network, "--steps", "1", "--out", text(&out)]);
    assert!(code == 2 && message.contains("--device cpu"), "exit {code}: {message}");
    let setting = format!("network.layers=\"{network}\"");
    let (code, message) = failure(&["reproduce", "fig1", "--device", "gpu", "--set", &setting, "--out", text(&out)]);
    assert!(code == 2 && message.contains("--device cpu"), "exit {code}: {message}");
    assert!(!out.exists());
}

#[test]
#[cfg(unix)]
fn what_is_there_is_not_lost_to_an_output() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, "20", &[]);
    let checkpoint = run.join("checkpoints/step-000020.safetensors");
    let before = std::fs::read(&checkpoint).unwrap();
    fn spectrum_at<'a>(checkpoint: &'a Path, extra: &[&'a str]) -> Vec<&'a str> {
        let ends = ["--samples", "50", "--device", "cpu", "--largest", "2", "--smallest", "1"];
        [&["spectrum", "--checkpoint", text(checkpoint)][..], &ends, extra].concat()
    }

    // The input itself, two outputs in one place, a state of another solve, a socket; a link's target is written.
    let refused = |arguments: &[&str], code, hint: &str| {
        let (found, message) = failure(arguments);
        assert!(found == code && message.contains(hint), "{arguments:?}: exit {found}: {message}");
    };
    refused(&spectrum_at(&checkpoint, &["--out", text(&checkpoint)]), 2, "choose another");
    let (one, state) = (folder.path().join("one"), folder.path().join("state"));
    refused(&spectrum_at(&checkpoint, &["--out", text(&one), "--log", text(&one)]), 2, "choose another");
    std::fs::write(&state, "another solve").unwrap();
    refused(&spectrum_at(&checkpoint, &["--state", text(&state)]), 2, "--resume");
    assert_eq!(std::fs::read(&state).unwrap(), b"another solve");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    refused(&spectrum_at(&checkpoint, &["--out", text(&socket)]), 1, "is no file");
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    json(&spectrum_at(&checkpoint, &["--out", text(&link)]));
    assert!(link.is_symlink() && TensorFile::read(&target).is_ok());
    assert!(std::fs::read(&checkpoint).unwrap() == before);

    // Fewer steps than there are; more pairs than there can be; settings that cannot work leave nothing.
    let again = ["train", "--device", "cpu", "--network", SMALL, "--checkpoint-every", "10", "--samples", "100"];
    refused(&[&again[..], &["--steps", "10", "--out", text(&run), "--resume"]].concat(), 2, "20 steps");
    let many = ["spectrum", "--checkpoint", text(&checkpoint), "--device", "cpu", "--largest", "18446744073709551615"];
    refused(&many, 2, "more than the");
    let fresh = folder.path().join("fresh");
    refused(&[&again[..], &["--steps", "10", "--rate", "0", "--out", text(&fresh)]].concat(), 2, "rate");
    assert!(!fresh.exists());
    refused(&["--threads", "99999999", "devices"], 2, "1024");

    // A name that is not UTF-8 is a name, and a reader who has seen enough is no failure.
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eigenscope"));
        command.args(arguments).stderr(Stdio::null());
        command
    };
    assert!(command(&[&again[..], &["--steps", "2", "--out"]].concat()).arg(&odd).output().unwrap().status.success());
    let mut closed = command(&["devices"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    assert!(closed.wait().unwrap().success());
}
