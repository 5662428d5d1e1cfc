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
export type { CheckerReport, DmaChecker } from '#emu/dma/checker/checker.ts';
export { CheckerClass } from '#emu/dma/checker/checker-class.ts';
export type { MappingClaim } from '#emu/dma/checker/mapping-claim.ts';
export { DmaAttr } from '#emu/dma/dma-attr.ts';
export type { Owner } from '#emu/dma/dma-sync.ts';
export type { DmaTraits } from '#emu/dma/dma-traits.ts';
export { IovaState } from '#emu/dma/iova/iova-state.ts';
export { RequestIterator, RequestStyle } from '#emu/dma/iova/request-iterator.ts';
export { MAPPING_ERROR, SingleMapper } from '#emu/dma/iova/single-mapper.ts';
export { BlockCursor, type BlockPlan, bestBlock } from '#emu/dma/lists/block-list.ts';
export { DmaFlag, DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';
export { LimitedCursor } from '#emu/dma/lists/limited-cursor.ts';
export { PhyFlag, PhyRangeList, phyCursor } from '#emu/dma/lists/phy-range-list.ts';
export type { RangeCursor } from '#emu/dma/lists/range-cursor.ts';
export { PROVIDER_INDEX, type RangeLayout } from '#emu/dma/lists/range-layout.ts';
export { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
export { RunCursor } from '#emu/dma/lists/run-cursor.ts';
export { type ScatterLayout, ScatterLayouts } from '#emu/dma/lists/scatter-layout.ts';
export { ScatterList } from '#emu/dma/lists/scatter-list.ts';
export type { SegmentLimits } from '#emu/dma/lists/segment-limits.ts';
export {
  type ByteRange,
  Direction,
  type DmaMapping,
  isRefusal,
  type MapRefusal,
  MapType,
} from '#emu/dma/mapping.ts';
export { HOST_BRIDGE_ALLOW_LIST } from '#emu/dma/p2p/host-bridge-list.ts';
export { BounceCounter, type BouncePool } from '#emu/dma/providers/bounce-pool.ts';
export type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
export { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
export { LegacyDomain } from '#emu/dma/providers/legacy-provider.ts';
export type { ErrorSpec } from '#emu/host/checks/error-check.ts';
export type { ResetWay } from '#emu/host/enumeration/function-reset.ts';
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
export { AddressSpace } from '#emu/host/memory/address-space.ts';
export { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
export type { PciFunction } from '#emu/host/pci-function.ts';
export type { PeerLease } from '#emu/host/peer/peer-lease.ts';
export type { PeerMemory } from '#emu/host/peer/peer-memory.ts';
export type { PeerPool } from '#emu/host/peer/peer-pool.ts';
export { type HostPreset, PRESETS, type PresetName } from '#emu/host/presets.ts';
export { type ErrorRecord, errorLines } from '#emu/host/services/error-record.ts';
export type { ContainmentRecord } from '#emu/host/services/error-service.ts';
export type { HotPlug, InsertOptions, RemoveOptions } from '#emu/host/services/hot-plug.ts';
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
} from '#emu/pcie/config/config-registers.ts';
export type { MsixOptions } from '#emu/pcie/config/msi-x.ts';
export type { SriovOptions } from '#emu/pcie/config/sriov.ts';
export type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
export {
  type BarHandler,
  type DmaClient,
  Endpoint,
  type EndpointSpec,
} from '#emu/pcie/endpoint/endpoint.ts';
export { AerRegister, Correctable, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';
export { Effect, type Injection, Injector } from '#emu/pcie/errors/injector.ts';
export type { Fabric, FabricError, Fidelity } from '#emu/pcie/fabric.ts';
export type { Credits, LinkSpec, VcOptions } from '#emu/pcie/link/link.ts';
export { LinkCounter, LossCounter } from '#emu/pcie/link/link-counters.ts';
export { LinkError } from '#emu/pcie/link/link-error.ts';
export {
  HEADER_3DW,
  HEADER_4DW,
  payloadRate,
  serialisationPs,
  wireBytes,
} from '#emu/pcie/link/link-timing.ts';
export type { Port } from '#emu/pcie/link/port.ts';
export { MemoryCounter } from '#emu/pcie/root/memory-server.ts';
export type { PeerPolicy } from '#emu/pcie/root/peer-policy.ts';
export type { AtomicKind } from '#emu/pcie/tlp/atomic-operation.ts';
export { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
export type { RequestAttributes } from '#emu/pcie/tlp/request-attributes.ts';
export { addressType, type Tlp, TlpFlag, TlpKind, trafficClass } from '#emu/pcie/tlp/tlp.ts';
export { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
export { type ParamValues, param } from '#emu/scenario/param.ts';
export type { Check } from '#emu/scenario/recorder.ts';
export type { ScenarioResult, TableRow } from '#emu/scenario/result.ts';
export { defineScenario, type RunContext, type Scenario } from '#emu/scenario/scenario.ts';
export type { Kernel } from '#emu/sim/kernel.ts';
export type { Pending } from '#emu/sim/pending.ts';
export { delay, type Process, wait } from '#emu/sim/process.ts';
export { Random } from '#emu/sim/random.ts';
export { Timer } from '#emu/sim/timer.ts';
