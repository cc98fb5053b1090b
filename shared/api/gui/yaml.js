// JSON as YAML that people like to read. The server reads what is edited.

const WORDS = /^(true|false|null|yes|no|on|off|y|n|~)$/i;
const PLAIN = /^[A-Za-z_/](?:[\w\-./@+*$]|:(?=\S)| (?=[\w(])|[()](?=\S))*$/;
/** Addresses and lengths of time, which no reader takes for numbers. */
const NUMBERED = /^(\d+(\.\d+){3}(\/\d+)?|(\d+(ms|s|m|h))+)$/;

function scalar(value, indent) {
  if (typeof value !== 'string') return JSON.stringify(value);
  if (NUMBERED.test(value) || (PLAIN.test(value) && !WORDS.test(value))) return value;
  const lines = value.replace(/\n$/, '').split('\n');
  if (lines.length > 1 && !/^\s|[^\S\n]\n|\n\n$|[^\n\x20-\x7e\u00a0-\ud7ff]/.test(value)) {
    const body = lines.map((line) => (line ? indent + line : line)).join('\n');
    return `|${value.endsWith('\n') ? '' : '-'}\n${body}`;
  }
  return JSON.stringify(value);
}

const isNested = (value) => value !== null && typeof value === 'object' && Object.keys(value).length > 0;

function lines(value, indent) {
  if (Array.isArray(value)) {
    return value.map((entry) => {
      if (!isNested(entry)) return `${indent}- ${leaf(entry, `${indent}  `)}\n`;
      return `${indent}- ${lines(entry, `${indent}  `).slice(indent.length + 2)}`;
    }).join('');
  }
  return Object.entries(value).map(([key, entry]) => {
    const name = indent + (key.includes('\n') ? JSON.stringify(key) : scalar(key, ''));
    if (!isNested(entry)) return `${name}: ${leaf(entry, `${indent}  `)}\n`;
    return `${name}:\n${lines(entry, Array.isArray(entry) ? indent : `${indent}  `)}`;
  }).join('');
}

function leaf(value, indent) {
  if (value !== null && typeof value === 'object') return Array.isArray(value) ? '[]' : '{}';
  return scalar(value, indent);
}

export const toYaml = (value) => (isNested(value) ? lines(value, '') : `${leaf(value, '  ')}\n`);
