// The page: sends a picture to /v1/stages, shows the answer, and asks /v1/status now and then.
// All text goes through textContent: labels come from a bundle, messages may quote a client.

const byId = (id) => document.getElementById(id);
const percent = (score) => `${(100 * score).toFixed(score < 0.1 ? 1 : 0)} %`;
const STATUS_EVERY_MS = 2000;
// A camera frame is sent when the one before it has been answered, and not more often than this.
const CAMERA_EVERY_MS = 250;
const STAGES = [
  ["wait_ms", "waited"], ["decode_ms", "decode"], ["resize_ms", "resize"], ["defend_ms", "defence"], ["invoke_ms", "model"],
];

let picture = null; // the last file or camera frame, for "Draw again"
let answer = null;
let current = 0; // counts requests: only the newest one's answer is shown
let stream = null;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function facts(list, entries) {
  list.replaceChildren(...entries.map(([name, value, swatch]) => {
    const term = element("dt", {}, ...(swatch ? [element("span", { className: `swatch ${swatch}` })] : []), name);
    return element("div", {}, term, element("dd", {}, value));
  }));
}

function bar({ label, score }, ticks = []) {
  const fill = element("span", { className: "fill" });
  fill.style.width = `${100 * score}%`;
  const marks = ticks.map((tick) => {
    const mark = element("span", { className: "tick" });
    mark.style.left = `calc(${100 * tick}% - 1px)`;
    return mark;
  });
  const track = element("span", { className: "track", ariaHidden: "true" }, fill, ...marks);
  const name = element("span", { className: "name", title: label }, label);
  return element("span", { className: "bar" }, name, element("span", { className: "number" }, percent(score)), track);
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const reply = await fetch(path, { ...options, headers, cache: "no-store" });
  if (reply.status === 401) {
    sessionStorage.removeItem("token");
    byId("token-form").hidden = false;
  }
  const content = await reply.json();
  if (!reply.ok) throw new Error(content.error ?? `the service answers ${reply.status}`);
  return content;
}

function say(message) {
  byId("message").textContent = message;
}

async function classify(blob) {
  picture = blob;
  const mine = ++current;
  byId("again").disabled = false;
  byId("picture").ariaBusy = "true";
  try {
    const draws = byId("draws").value || "1";
    const got = await ask(`/v1/stages?draws=${draws}`, { method: "POST", body: blob });
    if (mine !== current) return;
    say("");
    show(got);
  } catch (error) {
    if (mine === current) say(error instanceof TypeError ? "The service cannot be reached." : error.message);
  } finally {
    if (mine === current) byId("picture").ariaBusy = "false";
  }
}

function show(got) {
  answer = got;
  for (const id of ["answer", "stages", "times"]) byId(id).hidden = false;
  const agreeing = Math.round(got.agreement * got.draws);
  byId("label").textContent = got.label;
  const entries = [["score", percent(got.score)], ["draws that agree", `${agreeing} of ${got.draws}`]];
  if (typeof got.suspicion === "number") {
    const verdict = { true: ", suspicious", false: ", not unusual" }[got.suspicious] ?? ""; // null: no threshold is known
    entries.push(["suspicion", `${percent(got.suspicion)}${verdict}`]);
  }
  facts(byId("facts"), entries);
  if (!stream) byId("spoken").textContent = `${got.label}, ${percent(got.score)}, ${agreeing} of ${got.draws} draws agree`;
  // A tick is what one draw says of that class, where the class is among its best.
  const ticksOf = (index) => got.each.flatMap((draw) => draw.top.filter((one) => one.index === index).map((one) => one.score));
  byId("bars").replaceChildren(...got.top.map((one) => bar(one, got.draws > 1 ? ticksOf(one.index) : [])));
  byId("ticks").hidden = got.draws < 2;
  byId("original").src = `data:image/png;base64,${got.pictures.original}`;
  byId("quantised").src = `data:image/png;base64,${got.pictures.quantised}`;
  const plain = got.undefended[0];
  byId("original-says").textContent = `– without the defence: ${plain.label}, ${percent(plain.score)}`;
  showTimes(got.stage_ms);
  const list = byId("draw-buttons");
  const kept = document.activeElement?.name === "draw" ? Number(document.activeElement.value) : null;
  list.replaceChildren(...got.each.map((draw, number) => {
    const radio = element("input", { type: "radio", name: "draw", value: String(number), checked: number === 0 });
    radio.ariaLabel = `Draw ${number + 1}: ${draw.top[0].label}, ${percent(draw.top[0].score)}`;
    radio.addEventListener("change", () => showDraw(number));
    const differs = draw.top[0].index !== got.top[0].index;
    return element("label", { className: differs ? "differs" : "" }, radio, bar(draw.top[0]));
  }));
  const shown = kept !== null && kept < got.each.length ? kept : 0;
  const radio = list.querySelectorAll("input")[shown];
  radio.checked = true;
  if (kept !== null) radio.focus();
  showDraw(shown);
}

function showDraw(number) {
  const draw = answer.each[number];
  byId("distorted").src = `data:image/png;base64,${draw.picture}`;
  byId("which-draw").textContent = `draw ${number + 1} of ${answer.each.length}`;
  byId("distorted-says").textContent = `– ${draw.top[0].label}, ${percent(draw.top[0].score)}`;
  drawGrid(byId("source-grid"), draw.cells, 1);
  drawGrid(byId("target-grid"), draw.cells, 0);
}

// The cells of a grid: as large as one another where they are shown (0), as the draw has changed them where they come from (1).
function drawGrid(svg, cells, side) {
  svg.replaceChildren();
  if (!byId("show-grid").checked) return;
  const image = byId("original");
  const paint = () => {
    const width = image.naturalWidth, height = image.naturalHeight;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    const lines = cells.columns.map((edge) => `M${edge[side]} 0V${height}`)
      .concat(cells.rows.map((edge) => `M0 ${edge[side]}H${width}`)).join("");
    svg.replaceChildren(...["under", "over"].map((name) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", lines);
      path.setAttribute("class", name);
      return path;
    }));
  };
  if (image.complete && image.naturalWidth) paint();
  else image.addEventListener("load", paint, { once: true });
}

function showTimes(stages) {
  const known = STAGES.filter(([key]) => key in stages);
  byId("time-bar").replaceChildren(...known.map(([key], number) => {
    const part = element("span", { className: `s${number + 1}` });
    part.style.flexGrow = String(stages[key]);
    return part;
  }));
  const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
  facts(byId("time-list"), known.map(([key, name], number) => [name, ms(stages[key]), `s${number + 1}`])
    .concat([["all, with the pictures", ms(stages.total_ms)]]));
}

async function refresh() {
  try {
    const health = await ask("/healthz");
    byId("model").textContent = `${health.model} ${health.precision}`;
    byId("health").textContent = "running";
    byId("health").className = "pill good";
    showStatus(await ask("/v1/status"));
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) {
      byId("health").textContent = "not reachable";
      byId("health").className = "pill bad";
    }
  }
  // A tab in the background asks nothing.
  setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", refresh, { once: true }) : refresh()),
    STATUS_EVERY_MS);
}

function showStatus(status) {
  byId("token-form").hidden = true;
  const ms = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
  const minutes = Math.floor(status.uptime_s / 60);
  const since = minutes < 1 ? `${Math.floor(status.uptime_s)} s` : minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const entries = [
    ["answers", String(status.answers)], ["in the last minute", String(status.answers_last_minute)],
    ["half within", ms(status.p50_ms)], ["95 % within", ms(status.p95_ms)],
    ["waiting", `${status.queue} of ${status.queue_places}`], ["refused", String(status.refused)], ["up for", since],
  ];
  if (status.throttled !== null) entries.push(["throttled", status.throttled.join(", ") || "no"]);
  facts(byId("status"), entries);
  showTemperature(status);
}

function showTemperature({ temperature_c: now, temperatures: history }) {
  const text = byId("temperature"), svg = byId("temperature-line");
  text.textContent = now === null ? "not known on this machine" : `${now.toFixed(1)} °C`;
  text.className = now !== null && now >= 75 ? "warm" : "";
  svg.toggleAttribute("hidden", history.length < 2);
  if (history.length < 2) return;
  const degrees = history.map((point) => point[1]);
  const low = Math.min(...degrees) - 2, high = Math.max(...degrees) + 2, oldest = history[0][0];
  const points = history.map(([ago, value]) => `${(300 * (1 - ago / oldest)).toFixed(1)} ${(80 * (high - value) / (high - low)).toFixed(1)}`);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", `M${points.join("L")}`);
  svg.replaceChildren(path);
  svg.setAttribute("aria-label",
    `Temperature of the last ${Math.round(oldest / 60)} minutes: ${low + 2} to ${high - 2} °C, now ${now} °C`);
}

// The camera -----------------------------------------------------------------------------------------------------

async function startCamera() {
  if (!navigator.mediaDevices) {
    say("The camera works on localhost and over HTTPS only: start the service with --tls-cert and --tls-key.");
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } }, audio: false });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`);
    return;
  }
  const video = byId("camera");
  video.srcObject = stream;
  video.hidden = false;
  setCameraButton(true);
  await video.play();
  followCamera(stream);
}

function stopCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  byId("camera").srcObject = null;
  byId("camera").hidden = true;
  setCameraButton(false);
}

function setCameraButton(running) {
  byId("use-camera").ariaPressed = String(running);
  byId("use-camera").textContent = running ? "Stop the camera" : "Use the camera";
}

async function followCamera(mine) {
  const video = byId("camera"), canvas = document.createElement("canvas");
  while (stream === mine) {
    const began = performance.now();
    if (video.videoWidth && !document.hidden) {
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      canvas.getContext("2d").drawImage(video, 0, 0);
      const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
      if (stream === mine && blob) await classify(blob);
    }
    await new Promise((done) => setTimeout(done, Math.max(30, CAMERA_EVERY_MS - (performance.now() - began))));
  }
}

// What the user does ---------------------------------------------------------------------------------------------

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (!file) return;
  stopCamera();
  classify(file);
}

for (let number = 1; number <= 8; number += 1) byId("draws").append(new Option(String(number)));
byId("draws").value = "4";
byId("choose").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = ""; // choosing the same file once more is a change as well
});
byId("again").addEventListener("click", () => classify(picture));
byId("draws").addEventListener("change", () => picture && classify(picture));
byId("show-grid").addEventListener("change", () => showDraw(Number(document.querySelector("[name=draw]:checked").value)));
byId("use-camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value.trim());
  byId("token").value = "";
  ask("/v1/status").then(showStatus, (error) => say(error.message));
});
document.addEventListener("paste", ({ clipboardData }) => clipboardData.files.length && take(clipboardData.files));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
for (const name of ["dragleave", "drop", "dragend"]) document.addEventListener(name, () => byId("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files);
});
addEventListener("pagehide", stopCamera);
refresh();
