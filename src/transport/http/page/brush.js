// Drawing and rubbing out: with a mouse, a finger, a pen, or the keyboard.

/** Calls `line(from, to, width)` while a brush moves over the canvas, in its pixels, and `done` when it is lifted. */
export function brush(canvas, { width, line, done }) {
  let [last, cursor, down] = [null, null, false];
  const place = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [((clientX - box.left) * canvas.width) / box.width, ((clientY - box.top) * canvas.height) / box.height];
  };
  // Where the brush of the keyboard is: a ring that lies over the canvas.
  const ring = Object.assign(document.createElement("span"), { className: "ring", hidden: true });
  canvas.after(ring);
  const showRing = () => {
    const [across, over] = [canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height];
    const size = width() * across;
    const left = canvas.offsetLeft + cursor[0] * across - size / 2;
    const top = canvas.offsetTop + cursor[1] * over - size / 2;
    const box = { width: size, height: size, left, top };
    for (const [name, value] of Object.entries(box)) ring.style[name] = `${value}px`;
    ring.hidden = false;
  };
  canvas.style.touchAction = "none";
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last, width());
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    line(last, next, width());
    last = next;
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      if (last) done();
      last = null;
    });
  }
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    cursor ??= [canvas.width / 2, canvas.height / 2];
    if (event.key === " ") {
      down = !down;
      if (down) line(cursor, cursor, width());
      else done();
    } else if (step) {
      const [x, y] = cursor.map((at, axis) => at + (step[axis] * width()) / 2);
      const next = [Math.max(0, Math.min(canvas.width, x)), Math.max(0, Math.min(canvas.height, y))];
      if (down) line(cursor, next, width());
      cursor = next;
    } else return;
    showRing();
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => {
    if (down) done();
    down = false;
    ring.hidden = true;
  });
}
