/// An image reference, split as the engine's pull call wants it.
package struct ImageReference: Hashable, Sendable {
    /// Repository, with the registry where it is named.
    package var name: String
    /// A tag, or a digest such as `sha256:…`. Never empty: without one the engine would pull every tag there is.
    package var tag: String

    package init(_ text: String) {
        if let at = text.firstIndex(of: "@") {
            tag = String(text[text.index(after: at)...])
            name = ImageReference(String(text[..<at])).name
            return
        }
        // A colon before the last slash belongs to the registry's port.
        let afterSlash = text.lastIndex(of: "/").map { text.index(after: $0) } ?? text.startIndex
        if let colon = text[afterSlash...].firstIndex(of: ":") {
            name = String(text[..<colon])
            tag = String(text[text.index(after: colon)...])
        } else {
            name = text
            tag = "latest"
        }
    }
}
