/**
 * The public list of pcie-emu: what scenarios and devices outside this repository may use.
 * @module
 */
export { type FileStoreOptions, fileStore } from '#emu/attach/file-store.ts';
export { EmuError, type EmuErrorCode, invariant, usage } from '#emu/base/errors.ts';
export { Bits, U8, U16, U32, U64 } from '#emu/base/layout.ts';
export { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
export {
  type Bdf,
  bdf,
  type DmaAddr,
  dmaAddr,
  formatBdf,
  hex,
  ms,
  ns,
  offsetBy,
  type PhysAddr,
  type Picos,
  physAddr,
  picos,
  us,
} from '#emu/base/units.ts';
export { BlockCursor, type BlockPlan, bestBlock } from '#emu/dma/block-list.ts';
export { BounceCounter, type BouncePool } from '#emu/dma/bounce-pool.ts';
export type { CheckerReport, DmaChecker } from '#emu/dma/checker.ts';
export { CheckerClass } from '#emu/dma/checker-class.ts';
export type { CoherentMemory } from '#emu/dma/coherent-memory.ts';
export { DmaAttr } from '#emu/dma/dma-attr.ts';
export { DmaFlag, DmaRangeList, dmaCursor } from '#emu/dma/dma-range-list.ts';
export type { Owner } from '#emu/dma/dma-sync.ts';
export type { DmaTraits } from '#emu/dma/dma-traits.ts';
export { FlushPolicy } from '#emu/dma/flush-queue.ts';
export { HOST_BRIDGE_ALLOW_LIST } from '#emu/dma/host-bridge-list.ts';
export { IovaState } from '#emu/dma/iova-state.ts';
export { LegacyDomain } from '#emu/dma/legacy-provider.ts';
export { LimitedCursor } from '#emu/dma/limited-cursor.ts';
export {
  type ByteRange,
  Direction,
  type DmaMapping,
  isRefusal,
  type MapRefusal,
  MapType,
} from '#emu/dma/mapping.ts';
export type { MappingClaim } from '#emu/dma/mapping-claim.ts';
export { PhyFlag, PhyRangeList, phyCursor } from '#emu/dma/phy-range-list.ts';
export type { RangeCursor } from '#emu/dma/range-cursor.ts';
export { PROVIDER_INDEX, type RangeLayout } from '#emu/dma/range-layout.ts';
export { RangeLayouts } from '#emu/dma/range-layouts.ts';
export { RequestIterator, RequestStyle } from '#emu/dma/request-iterator.ts';
export { RunCursor } from '#emu/dma/run-cursor.ts';
export { type ScatterLayout, ScatterLayouts } from '#emu/dma/scatter-layout.ts';
export { ScatterList } from '#emu/dma/scatter-list.ts';
export type { SegmentLimits } from '#emu/dma/segment-limits.ts';
export { MAPPING_ERROR, SingleMapper } from '#emu/dma/single-mapper.ts';
export { AddressSpace } from '#emu/host/address-space.ts';
export type { ErrorSpec } from '#emu/host/error-check.ts';
export { type ErrorRecord, errorLines } from '#emu/host/error-record.ts';
export type { ContainmentRecord } from '#emu/host/error-service.ts';
export type { ResetWay } from '#emu/host/function-reset.ts';
export type { HotPlug, InsertOptions, RemoveOptions } from '#emu/host/hot-plug.ts';
export { type Machine, MachinePlan, machine } from '#emu/host/machine.ts';
export {
  type DeviceDmaSpec,
  type DmaSpec,
  type HostBridgeSpec,
  type HotPlugSpec,
  type MachineSpec,
  type MultiFunctionSpec,
  multiFunction,
  type PeerRule,
  type PortSpec,
  pcieSwitch,
  type SwitchSpec,
} from '#emu/host/machine-spec.ts';
export type { PciFunction } from '#emu/host/pci-function.ts';
export type { PeerLease } from '#emu/host/peer-lease.ts';
export type { PeerMemory } from '#emu/host/peer-memory.ts';
export type { PeerPool } from '#emu/host/peer-pool.ts';
export { pinUserPages, unpinUserPages } from '#emu/host/pinning.ts';
export { type HostPreset, PRESETS, type PresetName } from '#emu/host/presets.ts';
export { IommuCounter } from '#emu/iommu/translation-unit.ts';
export { type BlockStore, MemoryStore, StoreStatus } from '#emu/memory/block-store.ts';
export { copyMemory, SparseMemory } from '#emu/memory/sparse-memory.ts';
export { type Observer, observe } from '#emu/observe/observe.ts';
export type {
  CommandRecord,
  FaultRecord,
  InterruptRecord,
  TlpRecord,
} from '#emu/observe/records.ts';
export { AerRegister, Correctable, Uncorrectable } from '#emu/pcie/aer-registers.ts';
export type { AtomicKind } from '#emu/pcie/atomic-operation.ts';
export {
  AcsBit,
  BridgeControl,
  CapabilityId,
  Command,
  DevCtl,
  DevCtl2,
  ExtendedId,
  Header,
  Pcie,
  Type1,
} from '#emu/pcie/config-registers.ts';
export type { DeviceSpec } from '#emu/pcie/device-spec.ts';
export { DmaStatus, Purpose } from '#emu/pcie/dma-status.ts';
export {
  type BarHandler,
  type DmaClient,
  Endpoint,
  type EndpointSpec,
} from '#emu/pcie/endpoint.ts';
export type { Fabric, FabricError, Fidelity } from '#emu/pcie/fabric.ts';
export { Effect, type Injection, Injector } from '#emu/pcie/injector.ts';
export type { Credits, LinkSpec, VcOptions } from '#emu/pcie/link.ts';
export { LinkCounter, LossCounter } from '#emu/pcie/link-counters.ts';
export { LinkError } from '#emu/pcie/link-error.ts';
export {
  HEADER_3DW,
  HEADER_4DW,
  payloadRate,
  serialisationPs,
  wireBytes,
} from '#emu/pcie/link-timing.ts';
export { MemoryCounter } from '#emu/pcie/memory-server.ts';
export type { MsixOptions } from '#emu/pcie/msi-x.ts';
export type { PeerPolicy } from '#emu/pcie/peer-policy.ts';
export type { Port } from '#emu/pcie/port.ts';
export type { RequestAttributes } from '#emu/pcie/request-attributes.ts';
export type { SriovOptions } from '#emu/pcie/sriov.ts';
export { addressType, type Tlp, TlpFlag, TlpKind, trafficClass } from '#emu/pcie/tlp.ts';
export { MessageCode, MessageRouting } from '#emu/pcie/tlp-messages.ts';
export { type ParamValues, param } from '#emu/scenario/param.ts';
export type { Check } from '#emu/scenario/recorder.ts';
export type { ScenarioResult, TableRow } from '#emu/scenario/result.ts';
export { defineScenario, type RunContext, type Scenario } from '#emu/scenario/scenario.ts';
export type { Kernel } from '#emu/sim/kernel.ts';
export type { Pending } from '#emu/sim/pending.ts';
export { delay, type Process, wait } from '#emu/sim/process.ts';
export { Random } from '#emu/sim/random.ts';
export { Timer } from '#emu/sim/timer.ts';
