//! The comments of `region` and `nation`: thirty constants of the benchmark.
//!
//! The generator cuts comments out of a pool of 300 MiB of text, which takes a second to make. These two
//! tables are in every small query, so their comments are written down; a test compares them with the
//! generator's.

/// `r_comment` by `r_regionkey`.
#[rustfmt::skip]
pub(crate) const REGION_COMMENTS: [&str; 5] = [
    "lar deposits. blithely final packages cajole. regular waters are final requests. regular accounts are according to ",
    "hs use ironic, even requests. s",
    "ges. thinly even pinto beans ca",
    "ly final courts cajole furiously final excuse",
    "uickly special accounts cajole carefully blithely close requests. carefully final asymptotes haggle furiousl",
];

/// `n_comment` by `n_nationkey`.
#[rustfmt::skip]
pub(crate) const NATION_COMMENTS: [&str; 25] = [
    " haggle. carefully final deposits detect slyly agai",
    "al foxes promise slyly according to the regular accounts. bold requests alon",
    "y alongside of the pending deposits. carefully special packages are about the ironic forges. slyly special ",
    "eas hang ironic, silent packages. slyly regular packages are furiously over the tithes. fluffily bold",
    "y above the carefully unusual theodolites. final dugouts are quickly across the furiously regular d",
    "ven packages wake quickly. regu",
    "refully final requests. regular, ironi",
    "l platelets. regular accounts x-ray: unusual, regular acco",
    "ss excuses cajole slyly across the packages. deposits print aroun",
    " slyly express asymptotes. regular deposits haggle slyly. carefully ironic hockey players sleep blithely. carefull",
    "efully alongside of the slyly final dependencies. ",
    "nic deposits boost atop the quickly final requests? quickly regula",
    "ously. final, express gifts cajole a",
    "ic deposits are blithely about the carefully regular pa",
    " pending excuses haggle furiously deposits. pending, express pinto beans wake fluffily past t",
    "rns. blithely bold courts among the closely regular packages use furiously bold platelets?",
    "s. ironic, unusual asymptotes wake blithely r",
    "platelets. blithely pending dependencies use fluffily across the even pinto beans. carefully silent accoun",
    "c dependencies. furiously express notornis sleep slyly regular accounts. ideas sleep. depos",
    "ular asymptotes are about the furious multipliers. express dependencies nag above the ironically ironic account",
    "ts. silent requests haggle. closely express packages sleep across the blithely",
    "hely enticingly express accounts. even, final ",
    " requests against the platelets use never according to the quickly regular pint",
    "eans boost carefully special requests. accounts are. carefull",
    "y final packages. slow foxes cajole quickly. quickly silent platelets breach ironic accounts. unusual pinto be",
];

#[cfg(test)]
mod tests {
    use super::*;
    use tpchgen::generators::{NationGenerator, RegionGenerator};

    #[test]
    fn the_constants_are_the_generator_s() {
        let regions: Vec<&str> = RegionGenerator::default()
            .iter()
            .map(|r| r.r_comment)
            .collect();
        let nations: Vec<&str> = NationGenerator::default()
            .iter()
            .map(|n| n.n_comment)
            .collect();
        assert_eq!(regions, REGION_COMMENTS);
        assert_eq!(nations, NATION_COMMENTS);
    }
}
