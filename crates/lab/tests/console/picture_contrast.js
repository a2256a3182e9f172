// Text in the picture whose contrast with what it stands on is below 4.5 to 1: axe-core cannot tell for SVG.
const luminance = ([red, green, blue]) => {
  const linear = [red, green, blue].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const paper = getComputedStyle(document.body).backgroundColor;
const texts = [...document.querySelectorAll('svg.picture text')];
if (!texts.length) return ['no text'];
return texts.flatMap((text) => {
  const card = text.closest('.pill, .node')?.querySelector(':scope > rect');
  const [one, other] = [getComputedStyle(text).fill, card ? getComputedStyle(card).fill : paper].map((color) => luminance(parts(color)));
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  return contrast < 4.5 ? [`${text.textContent}: ${contrast.toFixed(2)}`] : [];
});
