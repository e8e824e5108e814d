//! Initial parameters, by seed.

use super::Network;
use crate::Error;
use crate::random::{normal, stream, uniform};

/// How a network starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Glorot uniform: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)); zero biases.
    #[default]
    Glorot,
    /// He normal: N(0, 2 / fan_in); zero biases.
    He,
    /// N(0, 0.1^2) redrawn beyond two standard deviations; biases 0.1: the TensorFlow tutorial's LeNet.
    TruncatedNormal,
}

impl std::str::FromStr for Init {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "glorot" => Ok(Self::Glorot),
            "he" => Ok(Self::He),
            "truncated-normal" => Ok(Self::TruncatedNormal),
            _ => Err(Error::Usage(format!("initialiser \"{text}\" is not one of glorot, he, truncated-normal"))),
        }
    }
}

impl std::fmt::Display for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Glorot => "glorot",
            Self::He => "he",
            Self::TruncatedNormal => "truncated-normal",
        })
    }
}

impl Init {
    /// The `dim` initial parameters of `network`. The same seed gives the same parameters; each tensor has a stream of
    /// its own, so that a change to one layer leaves the others alone.
    pub fn parameters(self, network: &Network, seed: u64) -> Vec<f32> {
        let mut theta = vec![0.0; network.dim()];
        for (number, p) in network.parameters().iter().enumerate() {
            let mut rng = stream(seed, number as u64);
            let mut draw: Box<dyn FnMut() -> f64> = match (self, p.fans()) {
                (Self::Glorot | Self::He, None) => Box::new(|| 0.0),
                (Self::TruncatedNormal, None) => Box::new(|| 0.1),
                (Self::Glorot, Some((fan_in, fan_out))) => {
                    let limit = (6.0 / (fan_in + fan_out) as f64).sqrt();
                    Box::new(move || limit * (2.0 * uniform(&mut rng) - 1.0))
                }
                (Self::He, Some((fan_in, _))) => {
                    let deviation = (2.0 / fan_in as f64).sqrt();
                    Box::new(move || deviation * normal(&mut rng))
                }
                (Self::TruncatedNormal, Some(_)) => Box::new(move || {
                    loop {
                        let z = normal(&mut rng);
                        if z.abs() <= 2.0 {
                            return 0.1 * z;
                        }
                    }
                }),
            };
            theta[p.range()].iter_mut().for_each(|t| *t = draw() as f32);
        }
        theta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;

    fn spread(init: Init, name: &str) -> (f64, f64) {
        let network = Network::lenet(ImageShape { channels: 1, height: 28, width: 28 }, 10).unwrap();
        let theta = init.parameters(&network, 7);
        let p = network.parameters().iter().find(|p| p.name == name).unwrap();
        let values: Vec<f64> = theta[p.range()].iter().map(|&t| f64::from(t)).collect();
        let mean_square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        (mean_square.sqrt(), values.iter().fold(0.0, |m, v| v.abs().max(m)))
    }

    #[test]
    fn each_initialiser_has_its_spread() {
        let limit = (6.0f64 / (3136.0 + 1024.0)).sqrt();
        let (deviation, largest) = spread(Init::Glorot, "fc1.weight");
        assert!((deviation / (limit / 3f64.sqrt()) - 1.0).abs() < 2e-3 && largest <= limit, "{deviation} {largest}");
        let (deviation, _) = spread(Init::He, "fc1.weight");
        assert!((deviation / (2.0 / 3136.0f64).sqrt() - 1.0).abs() < 2e-3, "{deviation}");
        let (deviation, largest) = spread(Init::TruncatedNormal, "fc1.weight");
        // A standard normal cut at two deviations has deviation 0.8796.
        assert!((deviation / 0.08796 - 1.0).abs() < 2e-3 && largest <= 0.2 + 1e-7, "{deviation} {largest}");
        assert_eq!(spread(Init::Glorot, "conv2.bias").1, 0.0);
        assert!((spread(Init::TruncatedNormal, "conv2.bias").0 - 0.1).abs() < 1e-7);
    }

    #[test]
    fn names_round_trip() {
        for init in [Init::Glorot, Init::He, Init::TruncatedNormal] {
            assert_eq!(init.to_string().parse::<Init>().unwrap(), init);
        }
        assert!("xavier".parse::<Init>().is_err());
    }
}
