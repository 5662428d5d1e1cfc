/**
 * Rows of timing files: a machine, a workload, what is measured of it, and what it should be. Parsing and its
 * complaints only. The format is described in docs/timing.md.
 * @module
 */
import { z } from 'zod';
import { usage } from '#emu/base/errors.ts';
import { PRESET_NAMES } from '#emu/host/presets.ts';

/** Rows of these kinds must hold; one that was measured on hardware may miss, and says so. */
export const ASSERTED_KINDS: readonly string[] = [
  'spec-exact',
  'vendor-doc',
  'third-party-analytic',
];

const count = z.int().min(1);
const nanoseconds = z.number().min(0).max(1e9);
const rate = z.number().positive();
const powerOfTwo = (least: number, most: number) =>
  z
    .int()
    .refine(
      (value) => value >= least && value <= most && Number.isInteger(Math.log2(value)),
      `expected a power of two from ${least} to ${most}`,
    );
const payload = z.literal([128, 256, 512, 1024, 2048, 4096]);

const link = z.strictObject({
  gen: z.literal([1, 2, 3, 4, 5, 6]),
  width: z.literal([1, 2, 4, 8, 16]),
  propagationNs: nanoseconds.optional(),
  overheads: z.union([z.boolean(), z.literal('eager')]).optional(),
});

const credits = z.strictObject({
  PH: z.int().min(0).exactOptional(),
  PD: z.int().min(0).exactOptional(),
  NPH: z.int().min(0).exactOptional(),
  NPD: z.int().min(0).exactOptional(),
  CplH: z.int().min(0).exactOptional(),
  CplD: z.int().min(0).exactOptional(),
});

const machine = z.strictObject({
  /** Default `ideal`. */
  preset: z.enum(PRESET_NAMES).optional(),
  /** Default `root-port`. */
  topology: z.enum(['root-port', 'switch', 'switch-peers', 'root-peers']).optional(),
  link,
  /** Default 256. */
  maxPayloadBytes: payload.optional(),
  /** Default 512. */
  maxReadRequestBytes: payload.optional(),
  rootCompletionBytes: z.literal([64, 128, 256, 512]).optional(),
  rootLatencyNs: nanoseconds.optional(),
  memoryLatencyNs: nanoseconds.optional(),
  completerLatencyNs: nanoseconds.optional(),
  switchLatencyNs: nanoseconds.optional(),
  cutThrough: z.boolean().optional(),
  rootCredits: credits.optional(),
  tags: z.literal([32, 256]).optional(),
  /** Of the requester's window, with a preset that has an IOMMU. Default 4096. */
  pageBytes: z.literal([4096, 2 ** 21]).optional(),
});

const traffic = {
  op: z.enum(['read', 'write', 'both']),
  sizeBytes: count.max(2 ** 20),
  addressBits: z.literal([32, 64]).default(64),
};
const workload = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('stream'),
    ...traffic,
    outstanding: count.max(256).default(32),
    requesters: count.max(8).default(1),
    requesterGBps: rate.optional(),
    windowBytes: powerOfTwo(4096, 2 ** 30).default(2 ** 20),
    random: z.boolean().default(false),
  }),
  z.strictObject({
    type: z.literal('single'),
    ...traffic,
    windowBytes: powerOfTwo(4096, 2 ** 30).default(2 ** 20),
    random: z.boolean().default(false),
  }),
  z.strictObject({ type: z.literal('mmio-read'), sizeBytes: z.literal([1, 2, 4]) }),
  z.strictObject({
    type: z.literal('nvme'),
    op: z.enum(['read', 'write']),
    sizeBytes: powerOfTwo(4096, 2 ** 20),
    commands: count.max(1e5).default(1),
    queueDepth: count.max(256).default(1),
  }),
]);

const quantity = z.discriminatedUnion('name', [
  /** Payload in GB/s or Gb/s; with a budget, as a share of the link's TLP rate times that budget. */
  z.strictObject({
    name: z.literal('payload-rate'),
    unit: z.enum(['GB/s', 'Gb/s']),
    budget: rate.optional(),
  }),
  /** Of a read until its data or, where that is asked for, its request has arrived; of a write until it has. */
  z.strictObject({
    name: z.literal('latency'),
    unit: z.literal('ns'),
    of: z.literal('request').optional(),
  }),
  z.strictObject({ name: z.literal('command-rate'), unit: z.literal('1/s') }),
  z.strictObject({
    name: z.literal('tlps'),
    unit: z.literal('TLPs'),
    kind: z.enum(['MRd', 'MWr', 'Cpl', 'CplD']).optional(),
    payloadBytes: z.int().min(0).optional(),
    at: z.enum(['requester', 'target']).default('requester'),
    direction: z.enum(['up', 'down']).optional(),
  }),
  z.strictObject({
    name: z.literal('wire-bytes'),
    unit: z.literal('B'),
    at: z.enum(['requester', 'target']).default('requester'),
    direction: z.enum(['up', 'down']),
  }),
  z.strictObject({ name: z.literal('ack-latency'), unit: z.literal('symbols') }),
]);

const tolerance = z.union([
  z.strictObject({ percent: z.number().min(0) }),
  z.strictObject({ absolute: z.number().min(0) }),
  z
    .strictObject({ from: z.number(), to: z.number() })
    .refine(({ from, to }) => from <= to, 'expected from to be at most to'),
]);

const row = z.strictObject({
  id: z.string().min(1),
  kind: z.enum(['spec-exact', 'vendor-doc', 'third-party-analytic', 'measured']),
  /** In words, for people. */
  configuration: z.string(),
  source: z.string().min(1),
  note: z.string().optional(),
  machine,
  workload,
  quantity,
  /** Another machine that the result is compared with: the fields that differ. */
  against: z
    .strictObject({ how: z.enum(['difference', 'ratio']), machine: machine.partial() })
    .optional(),
  expected: z.number().refine((value) => value !== 0, 'expected another number than 0'),
  tolerance,
});
const file = z.strictObject({
  rows: z
    .array(row)
    .min(1)
    .refine(
      (rows) => new Set(rows.map(({ id }) => id)).size === rows.length,
      'expected ids used once',
    ),
});

export type TimingMachine = z.infer<typeof machine>;
export type TimingWorkload = z.infer<typeof workload>;
export type StreamWorkload = Extract<TimingWorkload, { type: 'stream' | 'single' }>;
export type NvmeWorkload = Extract<TimingWorkload, { type: 'nvme' }>;
export type TimingQuantity = z.infer<typeof quantity>;
export type TimingRow = z.infer<typeof row>;

/** The rows of a parsed JSON file. @throws USAGE that names the place, what was expected and what was got */
export function timingRows(json: unknown): readonly TimingRow[] {
  const parsed = file.safeParse(json);
  if (parsed.success) return parsed.data.rows;
  const [issue] = parsed.error.issues;
  const at = z.core.toDotPath(issue?.path ?? []) || 'the file';
  const got = valueAt(json, issue?.path ?? []);
  throw usage(`${at}: ${issue?.message ?? 'not a timing file'}; got ${got}`, { at });
}

/** What stands at a place of the file, shortened. */
function valueAt(json: unknown, path: readonly PropertyKey[]): string {
  let value: unknown = json;
  for (const key of path) {
    value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
  }
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
