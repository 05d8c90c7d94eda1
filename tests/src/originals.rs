//! The original tools that ours are compared with, each in its pinned version and with an empty
//! environment.

use anyhow::Result;

use crate::bed::{Cache, Tool, run_folder};
use crate::program::Program;

/// sops 3.13.3, whose format we follow.
pub fn sops() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::Sops3133)?))
}

/// sops 3.11.0, an older one in wide use.
pub fn sops_3_11() -> Result<Program> {
    Ok(
        Program::new(Cache::open()?.tool(Tool::Sops3110)?)
            .env("SOPS_DISABLE_VERSION_CHECK", "true"),
    )
}

/// kubeseal 0.38.4.
pub fn kubeseal() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::Kubeseal)?))
}

/// Go's text/template with sprig in the versions of Sealed Secrets 0.38.4; a list of cases in, a list of outcomes out.
pub fn templates() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::TemplateOracle)?).env("TZ", "UTC"))
}

/// age 1.3.2.
pub fn age() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::Age)?))
}

/// age-keygen 1.3.2.
pub fn age_keygen() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::AgeKeygen)?))
}

/// helm 3.22.0, with its folders in the run folder.
pub fn helm() -> Result<Program> {
    let home = run_folder()?.join("helm");
    Ok(Program::new(Cache::open()?.tool(Tool::Helm)?)
        .env("HOME", &home)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data")))
}

/// The parser of PromQL: expressions in, a JSON array of strings; what they name out.
pub fn promql() -> Result<Program> {
    Ok(Program::new(Cache::open()?.tool(Tool::Promql)?))
}
