//! The text form of a network: `conv 3x3 4, conv 3x3 8, dense 16, dense 10`.

use super::Block;
use crate::{Error, Result};

pub(super) fn parse(text: &str) -> Result<Vec<Block>> {
    if text.trim().is_empty() {
        return Err(Error::Usage("network: the description is empty; try \"lenet\"".into()));
    }
    text.split([',', ';']).map(|part| block(part.trim())).collect()
}

fn block(text: &str) -> Result<Block> {
    let wrong = |why: &str| {
        Error::Usage(format!("network: \"{text}\" {why}; write \"conv 5x5 32\" (kernel, maps) or \"dense 1024\""))
    };
    let number = |word: &str| match word.parse::<usize>() {
        Ok(0) => Err(wrong("needs at least 1")),
        Ok(n) if n > 1 << 24 => Err(wrong("is too large")),
        Ok(n) => Ok(n),
        Err(_) => Err(wrong("is not understood")),
    };
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["conv", kernel, maps] => {
            let (a, b) = kernel.split_once('x').ok_or_else(|| wrong("is not understood"))?;
            let (a, b) = (number(a)?, number(b)?);
            if a != b {
                return Err(wrong("must have a square kernel"));
            }
            if a % 2 == 0 {
                return Err(wrong("must have an odd kernel"));
            }
            Ok(Block::Conv { kernel: a, maps: number(maps)? })
        }
        ["dense", outputs] => Ok(Block::Dense { outputs: number(outputs)? }),
        _ => Err(wrong("is not understood")),
    }
}

pub(super) fn format(blocks: &[Block]) -> String {
    let one = |block: &Block| match block {
        Block::Conv { kernel, maps } => format!("conv {kernel}x{kernel} {maps}"),
        Block::Dense { outputs } => format!("dense {outputs}"),
    };
    blocks.iter().map(one).collect::<Vec<_>>().join(", ")
}
