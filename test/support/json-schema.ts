/**
 * Checks a value against the few keywords of JSON Schema that this repository's schemas use. [JSONSCHEMA]
 * @module
 */
type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Schema {
  readonly type?: string | readonly string[];
  readonly const?: Json;
  readonly enum?: readonly Json[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
}

/** What is wrong with `value`, each as `path: problem`. */
export function schemaComplaints(schema: Schema, value: unknown, path = ''): string[] {
  const complain = (problem: string): string[] => [`${path}: ${problem}`];
  if ('const' in schema && value !== schema.const) return complain(`is not ${schema.const}`);
  if (schema.enum && !schema.enum.some((known) => known === value)) {
    return complain(`${value} is not one of ${schema.enum.join(', ')}`);
  }
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isType(type, value))) {
    return complain(`is not of type ${schema.type}`);
  }
  if (typeof value === 'number') return numberProblems(schema, value).flatMap(complain);
  if (typeof value === 'string') {
    const fits = schema.pattern === undefined || new RegExp(schema.pattern).test(value);
    return fits ? [] : complain(`does not match ${schema.pattern}`);
  }
  if (Array.isArray(value)) {
    const { items = {} } = schema;
    return value.flatMap((item, i) => schemaComplaints(items, item, `${path}[${i}]`));
  }
  return isObject(value) ? memberComplaints(schema, value, path) : [];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

function isType(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return isObject(value) && !Array.isArray(value);
  return type === 'integer' ? Number.isInteger(value) : typeof value === type;
}

function numberProblems({ minimum, maximum }: Schema, value: number): string[] {
  const low = minimum !== undefined && value < minimum;
  const high = maximum !== undefined && value > maximum;
  return low || high ? [`${value} is not from ${minimum} to ${maximum}`] : [];
}

function memberComplaints(schema: Schema, value: Record<string, unknown>, path: string): string[] {
  const at = (key: string): string => (path === '' ? key : `${path}.${key}`);
  const missing = (schema.required ?? []).filter((key) => !(key in value));
  const complaints = missing.map((key) => `${at(key)}: is missing`);
  for (const [key, member] of Object.entries(value)) {
    const known = schema.properties?.[key] ?? schema.additionalProperties ?? true;
    if (known === false) complaints.push(`${at(key)}: is not known`);
    else if (known !== true) complaints.push(...schemaComplaints(known, member, at(key)));
  }
  return complaints;
}
