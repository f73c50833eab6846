//! Names of the places inside a decoder where activations can be captured and edited.
//!
//! The names are TransformerLens's, which every published sparse autoencoder and steering vector refers to. Shapes are
//! for one sequence: S positions, D model width, H query heads (G key/value heads under grouped-query attention), h
//! head width, M feed-forward width.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::util::suggest::nearest;

/// One place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `hook_embed` [S, D]: token embeddings.
    Embed,
    /// `hook_pos_embed` [S, D]: learned absolute positions; absent elsewhere.
    PosEmbed,
    /// `blocks.{i}....`
    Block(usize, BlockSite),
    /// `ln_final.hook_scale` [S, 1]
    FinalScale,
    /// `ln_final.hook_normalized` [S, D]: input of the unembedding.
    FinalNormalized,
}

/// A place inside a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockSite {
    ResidPre,
    ResidMid,
    ResidPost,
    AttnIn,
    QInput,
    KInput,
    VInput,
    MlpIn,
    AttnOut,
    MlpOut,
    Q,
    K,
    V,
    RotQ,
    RotK,
    AttnScores,
    Pattern,
    Z,
    Result,
    MlpPre,
    MlpPreLinear,
    MlpPost,
    Ln1Scale,
    Ln1Normalized,
    Ln1PostScale,
    Ln1PostNormalized,
    Ln2Scale,
    Ln2Normalized,
    Ln2PostScale,
    Ln2PostNormalized,
}

/// Everything that is known about a block site's names.
pub struct BlockSiteInfo {
    pub site: BlockSite,
    /// After `blocks.{i}.`
    pub name: &'static str,
    /// Before the layer number in the short form (`resid_post5`); for norms `scale5ln1`.
    pub short: &'static str,
    /// TransformerLens 3 bridge names, after `blocks.{i}.`
    pub bridge: Option<&'static str>,
    pub shape: &'static str,
    pub meaning: &'static str,
}

macro_rules! block_sites {
    ($($site:ident $name:literal $short:literal $bridge:expr, $shape:literal $meaning:literal;)*) => {
        /// All block sites in the order in which a forward pass reaches them.
        pub const BLOCK_SITES: &[BlockSiteInfo] = &[$(BlockSiteInfo {
            site: BlockSite::$site, name: $name, short: $short, bridge: $bridge, shape: $shape, meaning: $meaning,
        }),*];
    };
}

block_sites! {
    ResidPre "hook_resid_pre" "resid_pre" Some("hook_in"), "S,D" "residual entering the block";
    AttnIn "hook_attn_in" "attn_in" None, "S,H,D" "residual before ln1, per head, for query, key and value (needs G = H)";
    QInput "hook_q_input" "q_input" Some("attn.q.hook_in"), "S,H,D" "residual before ln1, per query head";
    KInput "hook_k_input" "k_input" Some("attn.k.hook_in"), "S,G,D" "residual before ln1, per key head";
    VInput "hook_v_input" "v_input" Some("attn.v.hook_in"), "S,G,D" "residual before ln1, per value head";
    Ln1Scale "ln1.hook_scale" "scale ln1" None, "S,1" "denominator of the norm before attention";
    Ln1Normalized "ln1.hook_normalized" "normalized ln1" Some("ln1.hook_out"), "S,D" "normalised residual, gain and bias applied";
    Q "attn.hook_q" "q" Some("attn.q.hook_out"), "S,H,h" "queries before norm, clip and rotary";
    K "attn.hook_k" "k" Some("attn.k.hook_out"), "S,G,h" "keys before norm, clip and rotary";
    V "attn.hook_v" "v" Some("attn.v.hook_out"), "S,G,h" "values, before they are clipped";
    RotQ "attn.hook_rot_q" "rot_q" None, "S,H,h" "queries after rotary";
    RotK "attn.hook_rot_k" "rot_k" None, "S,G,h" "keys after rotary";
    AttnScores "attn.hook_attn_scores" "attn_scores" None, "H,S,S" "before softmax; masked entries are -inf";
    Pattern "attn.hook_pattern" "pattern" None, "H,S,S" "after softmax";
    Z "attn.hook_z" "z" Some("attn.o.hook_in"), "S,H,h" "weighted values before the output projection";
    Result "attn.hook_result" "result" None, "S,H,D" "each head's share of the output projection, without bias";
    Ln1PostScale "ln1_post.hook_scale" "scale ln1_post" None, "S,1" "denominator of the norm after attention";
    Ln1PostNormalized "ln1_post.hook_normalized" "normalized ln1_post" Some("ln1_post.hook_out"), "S,D" "attention output, normalised, gain applied";
    AttnOut "hook_attn_out" "attn_out" Some("attn.hook_out"), "S,D" "attention output as added to the residual";
    ResidMid "hook_resid_mid" "resid_mid" None, "S,D" "after the attention is added; absent in parallel blocks";
    MlpIn "hook_mlp_in" "mlp_in" None, "S,D" "residual before ln2";
    Ln2Scale "ln2.hook_scale" "scale ln2" None, "S,1" "denominator of the norm before the MLP";
    Ln2Normalized "ln2.hook_normalized" "normalized ln2" Some("ln2.hook_out"), "S,D" "normalised residual, gain and bias applied";
    MlpPre "mlp.hook_pre" "pre" None, "S,M" "before the activation (of the gate, in a gated MLP)";
    MlpPreLinear "mlp.hook_pre_linear" "pre_linear" None, "S,M" "the branch without activation, in a gated MLP";
    MlpPost "mlp.hook_post" "post" None, "S,M" "input of the down projection";
    Ln2PostScale "ln2_post.hook_scale" "scale ln2_post" None, "S,1" "denominator of the norm after the MLP";
    Ln2PostNormalized "ln2_post.hook_normalized" "normalized ln2_post" Some("ln2_post.hook_out"), "S,D" "MLP output, normalised, gain applied";
    MlpOut "hook_mlp_out" "mlp_out" Some("mlp.hook_out"), "S,D" "MLP output as added to the residual";
    ResidPost "hook_resid_post" "resid_post" Some("hook_out"), "S,D" "residual leaving the block";
}

impl BlockSite {
    pub fn info(self) -> &'static BlockSiteInfo {
        BLOCK_SITES.iter().find(|info| info.site == self).expect("every block site is in the table")
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed => f.write_str("hook_embed"),
            Self::PosEmbed => f.write_str("hook_pos_embed"),
            Self::Block(layer, site) => write!(f, "blocks.{layer}.{}", site.info().name),
            Self::FinalScale => f.write_str("ln_final.hook_scale"),
            Self::FinalNormalized => f.write_str("ln_final.hook_normalized"),
        }
    }
}

impl FromStr for Site {
    type Err = Error;

    /// Takes the classic name, the bridge name, or the short form of `get_act_name` (`resid_post5`, `scale4ln1`).
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "hook_embed" | "embed.hook_out" | "embed" => return Ok(Self::Embed),
            "hook_pos_embed" | "pos_embed.hook_out" | "pos_embed" => return Ok(Self::PosEmbed),
            "ln_final.hook_scale" | "scale" => return Ok(Self::FinalScale),
            "ln_final.hook_normalized" | "unembed.hook_in" | "normalized" => return Ok(Self::FinalNormalized),
            _ => {}
        }
        let site = match text.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
            Some((layer, name)) => {
                layer.parse().ok().zip(BLOCK_SITES.iter().find(|info| info.name == name || info.bridge == Some(name)))
            }
            None => short_form(text),
        };
        site.map(|(layer, info)| Self::Block(layer, info.site)).ok_or_else(|| {
            let name = text.splitn(3, '.').nth(2).unwrap_or(text);
            let error = Error::bad(format!("expected the name of a site, found {text:?}"));
            match nearest(name, BLOCK_SITES.iter().map(|info| info.name)) {
                Some(near) => error.help(format!("did you mean `blocks.0.{near}`?")),
                None => error.help("names look like `blocks.5.hook_resid_post` or `resid_post5`"),
            }
        })
    }
}

/// `resid_post5`, `k6`, `scale4ln1`.
fn short_form(text: &str) -> Option<(usize, &'static BlockSiteInfo)> {
    let digit = text.find(|c: char| c.is_ascii_digit())?;
    let (word, rest) = text.split_at(digit);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (layer, tail) = rest.split_at(end);
    let short = if tail.is_empty() { word.to_owned() } else { format!("{word} {tail}") };
    layer.parse().ok().zip(BLOCK_SITES.iter().find(|info| info.short == short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for info in BLOCK_SITES {
            let site = Site::Block(7, info.site);
            assert_eq!(site.to_string().parse::<Site>().unwrap(), site);
            if let Some(bridge) = info.bridge {
                assert_eq!(format!("blocks.7.{bridge}").parse::<Site>().unwrap(), site);
            }
        }
        for site in [Site::Embed, Site::PosEmbed, Site::FinalScale, Site::FinalNormalized] {
            assert_eq!(site.to_string().parse::<Site>().unwrap(), site);
        }
    }

    #[test]
    fn short_forms_of_get_act_name() {
        for (short, name) in [
            ("resid_post5", "blocks.5.hook_resid_post"),
            ("k6", "blocks.6.attn.hook_k"),
            ("pre2", "blocks.2.mlp.hook_pre"),
            ("scale4ln1", "blocks.4.ln1.hook_scale"),
            ("pattern3", "blocks.3.attn.hook_pattern"),
            ("mlp_out7", "blocks.7.hook_mlp_out"),
            ("z4", "blocks.4.attn.hook_z"),
        ] {
            assert_eq!(short.parse::<Site>().unwrap().to_string(), name);
        }
        let error = "blocks.0.hook_resid_pots".parse::<Site>().unwrap_err().to_string();
        assert!(error.contains("did you mean `blocks.0.hook_resid_post`?"), "{error}");
    }
}
