// qvac_driver - one measurement of the addon @qvac/llm-llamacpp, by bare, in a process of its own.
//
//     bare qvac_driver.js JOB      JOB is a JSON object; the last line of the output is JSON
//
// Run inside the folder where npm has put the packages. The addon takes messages and applies the
// model's chat template; its own figures (stats) count the tokens of a prompt and time it.
//
// Job: {"do": "speed" | "first" | "count", "model": FILE, "config": {addon settings, all strings},
// "backends": FOLDER or "" (the addon's own)} and
//   speed  "texts": {NAME: text}, "words": text of the prompt before generating, "generate": N,
//          "columns": N, "reps": N
//   first  "words": text; prints what it generated
//   count  "words": [texts]; the tokens of each as a prompt
const Llm = require('@qvac/llm-llamacpp')
const path = require('bare-path')

const job = JSON.parse(Bare.argv[2])
const ask = (text) => [{ role: 'user', content: text }]

function say(object) {
  console.log(JSON.stringify(object))
}

function seconds(since) {
  return (Date.now() - since) / 1000
}

async function open(more) {
  const config = Object.assign({ device: 'cpu', gpu_layers: '0', temp: '0', verbosity: '0' },
    job.config, more)
  if (job.backends) config.backendsDir = path.resolve(job.backends)
  const model = new Llm({ files: { model: [job.model] }, config, opts: { stats: true }, logger: null })
  await model.load()
  return model
}

async function once(model, text, options) {
  const begin = Date.now()
  const response = await model.run(ask(text), options)
  let first = 0
  let pieces = 0
  response.onUpdate(() => {
    if (pieces++ === 0) first = seconds(begin)
  })
  await response.await()
  return { first, all: seconds(begin), pieces, stats: response.stats }
}

async function speed() {
  const out = {}
  let begin = Date.now()
  let model = await open({ predict: '1' })
  out.load_seconds = seconds(begin)
  for (const [name, text] of Object.entries(job.texts || {})) {
    const rates = []
    for (let i = -1; i < job.reps; i++) {
      const r = await once(model, text)
      if (i >= 0) rates.push(r.stats.ppTPS)
      out['tokens of ' + name] = r.stats.promptTokens
    }
    out[name] = rates
  }
  await model.unload()
  if (job.generate) {
    model = await open({ predict: String(job.generate), 'ignore-eos': '' })
    const rates = []
    for (let i = -1; i < job.reps; i++) {
      const r = await once(model, job.words)
      if (i >= 0) rates.push(r.stats.TPS)
      out.generated = r.stats.generatedTokens
      out.after = r.stats.promptTokens
    }
    out.generate = rates
    await model.unload()
  }
  if (job.columns) await columns(out)
  return out
}

// Several conversations at once: the same number of tokens each, so that all slots stay busy. Two
// lengths are timed and subtracted, which leaves the decoding alone.
async function columns(out) {
  const time = async (model) => {
    const begin = Date.now()
    const prompts = []
    for (let i = 0; i < job.columns; i++) prompts.push(ask('Number ' + i))
    const response = await model.run(prompts)
    await response.await()
    return seconds(begin)
  }
  const few = 8
  const many = 40
  const rates = []
  const open8 = (predict) => open({ predict: String(predict), parallel: String(job.columns),
    'ignore-eos': '' })
  const a = await open8(few)
  const b = await open8(many)
  for (let i = -1; i < job.reps; i++) {
    const t = await time(a)
    const u = await time(b)
    if (i >= 0) rates.push(job.columns * (many - few) / (u - t))
  }
  await a.unload()
  await b.unload()
  out.columns = rates
}

async function first() {
  const model = await open({ predict: '1' })
  const response = await model.run(ask(job.words))
  response.onUpdate((piece) => console.log('first token:', JSON.stringify(piece)))
  await response.await()
  await model.unload() // an open model would keep the process alive
  return { tokens: response.stats.promptTokens, stats: response.stats }
}

async function count() {
  const model = await open({ predict: '1' })
  const out = []
  for (const text of job.words) out.push((await once(model, text)).stats.promptTokens)
  await model.unload()
  return { tokens: out }
}

const run = { speed, first, count }[job.do]
run().then(say, (e) => say({ error: String((e && e.message) || e) }))
