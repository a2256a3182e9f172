const luminance = ([red, green, blue]) => {
  const linear = [red, green, blue].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parts(getComputedStyle(at).backgroundColor);
    if (color[3] === undefined || color[3] === 1) return color;
  }
  return parts(getComputedStyle(document.body).backgroundColor);
};
const found = [];
for (const element of document.querySelectorAll("body *:not(script, noscript, svg *)")) {
  const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.nodeValue.trim());
  if (!own.length || !element.checkVisibility() || element.closest("fieldset:disabled")) continue;
  const style = getComputedStyle(element);
  const [one, other] = [luminance(parts(style.color)), luminance(behind(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if (contrast < (isLarge ? 3 : 4.5)) found.push(`${element.nodeName} "${own[0].nodeValue.trim().slice(0, 30)}": ${contrast.toFixed(2)}`);
}
return found;
