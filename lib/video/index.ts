export { Video, type SaveOptions, type VideoJSON, type VideoParts, type VideoWarning } from './video.js'
export { videoFormats, type VideoFormat } from './formats.js'
export type { Frame, Picture } from './frames.js'
