//! Stub while the process driver is written.

use serde::{Deserialize, Serialize};

use crate::{
    DriverKind, Endpoints, FaultKind, Operation, StackError, Status, Target, UpOptions,
    driver::{Driver, Watched},
    folder::Folder,
    record::Stage,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ComposeRecord {
    pub stage: Stage,
}
#[derive(Debug)]
pub(crate) struct ComposeStack;
impl ComposeStack {
    pub(crate) fn new(_: Folder) -> Self {
        Self
    }
}
pub(crate) fn check(_: &UpOptions) -> Result<(), StackError> {
    Err(StackError::Usage("not yet".into()))
}
pub(crate) fn up(_: &Folder, _: &UpOptions, _: &Operation<'_>) -> Result<(), StackError> {
    Ok(())
}
pub(crate) fn stop(_: &Folder, _: &ComposeRecord, _: bool, _: &Operation<'_>) -> Result<(), StackError> {
    Ok(())
}
pub(crate) fn alive(_: &ComposeRecord) -> Result<Option<String>, StackError> {
    Ok(None)
}
impl Driver for ComposeStack {
    fn kind(&self) -> DriverKind {
        DriverKind::Compose
    }
    fn targets(&self) -> Result<Vec<Target>, StackError> {
        Ok(vec![])
    }
    fn status(&self) -> Result<Status, StackError> {
        unreachable!()
    }
    fn endpoints(&self) -> Result<Endpoints, StackError> {
        unreachable!()
    }
    fn inject(&self, _: FaultKind, _: Target, _: &Operation<'_>) -> Result<String, StackError> {
        unreachable!()
    }
    fn heal(&self, _: Option<Target>, _: &Operation<'_>) -> Result<Vec<String>, StackError> {
        unreachable!()
    }
    fn scale(&self, _: u32, _: &Operation<'_>) -> Result<(), StackError> {
        unreachable!()
    }
    fn watch(&self, _: &mut Watched) -> Result<Vec<Target>, StackError> {
        unreachable!()
    }
}
