import OrchestryModel

/// A compose file (compose-spec.io) as apps. What has no counterpart is left out, and said.
struct ComposeFile {
    /// What became of one key.
    struct Note: Hashable {
        enum Fate: String { case used, changed, left = "not used" }
        var key: String
        var fate: Fate
        /// How, or why; empty: as it stands.
        var text: String
    }

    struct Service {
        var name: String
        /// nil: no app can be made of it; a note says why.
        var document: JSONValue?
        var notes: [Note]
        /// What the parser says against the document.
        var violations: [Violation]
    }

    /// By name.
    var services: [Service]
    /// About what stands beside the services.
    var notes: [Note]

    /// - Parameter text: YAML.
    /// - Throws: `CommandFailure.usage` when it is not a compose file.
    init(_ text: String, from source: String) throws {
        let documents = try YAMLText.readAll(text, from: source, asWritten: true)
        guard documents.count == 1, case .object(let members)? = documents.first.map(Self.merged),
            case .object(let services)? = members["services"], !services.isEmpty
        else { throw CommandFailure.usage("\(source) is not a compose file: it must have services, in one document") }
        self.services = services.sorted { $0.key < $1.key }.map { name, definition in
            ComposeService.read(name, definition)
        }
        notes = members.keys.sorted().compactMap(Self.note(aboutTop:))
    }

    private static func note(aboutTop key: String) -> Note? {
        switch key {
        case "services": nil
        case "name": Note(key: key, fate: .left, text: "there are no projects: apps have names of their own")
        case "version": Note(key: key, fate: .left, text: "compose itself does not use it any more")
        case "volumes":
            Note(
                key: key, fate: .left,
                text:
                    "a named volume is made on each node where an app uses it; data, drivers and options are not carried over"
            )
        case "networks": Note(key: key, fate: .left, text: "all apps of a cluster share one network")
        case "secrets", "configs":
            Note(key: key, fate: .left, text: "set each by hand: orchestry secret set NAME < FILE")
        case let key where key.hasPrefix("x-"):
            Note(key: key, fate: .left, text: "an extension; its anchors are followed")
        default: Note(key: key, fate: .left, text: "not known here")
        }
    }

    /// With YAML's merge keys (`<<`) carried out.
    private static func merged(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): return .array(elements.map(merged))
        case .object(var members):
            let sources: [JSONValue] =
                switch members.removeValue(forKey: "<<") {
                case .array(let elements)?: elements
                case let one?: [one]
                case nil: []
                }
            for source in sources {
                for (key, value) in source.objectValue ?? [:] where members[key] == nil { members[key] = value }
            }
            // One that was merged may have some of its own.
            guard members["<<"] == nil else { return merged(.object(members)) }
            return .object(members.mapValues(merged))
        case .null, .bool, .int, .double, .string: return value
        }
    }
}

/// Texts in a compose file.
enum ComposeText {
    /// With `$$` as `$`; nil: it holds a variable (`$NAME`, `${NAME}`), whose value only the one who runs compose knows.
    static func literal(_ text: String) -> String? {
        var result = ""
        var rest = text[...]
        while let character = rest.popFirst() {
            guard character == "$" else {
                result.append(character)
                continue
            }
            switch rest.first {
            case "$"?:
                rest.removeFirst()
                result.append("$")
            case let next? where next == "{" || next == "_" || next.isASCII && next.isLetter: return nil
            default: result.append("$")
            }
        }
        return result
    }

    /// A command line's words, as compose splits it: quotes group, a backslash takes the next character as it is.
    /// - Returns: nil when a quote is not closed.
    static func words(_ line: String) -> [String]? {
        var words: [String] = []
        var word: String?
        var quote: Character?
        var rest = line[...]
        while let character = rest.popFirst() {
            switch (character, quote) {
            case ("\\", nil), ("\\", "\""?):
                guard let next = rest.popFirst() else { return nil }
                let isKept = quote == "\"" && !"\"\\$`".contains(next)
                word = (word ?? "") + (isKept ? "\\" : "") + String(next)
            case (let mark, let open?) where mark == open: quote = nil
            case ("\"", nil), ("'", nil):
                quote = character
                word = word ?? ""
            case (let space, nil) where space.isWhitespace:
                if let word { words.append(word) }
                word = nil
            default: word = (word ?? "") + String(character)
            }
        }
        guard quote == nil else { return nil }
        if let word { words.append(word) }
        return words
    }

    /// `1m30s`, `500ms`, `10` (seconds) as seconds; nil: not a duration.
    static func seconds(_ text: String) -> Double? {
        if let number = Double(text) { return number >= 0 ? number : nil }
        let units: [(String, Double)] = [("us", 1e-6), ("ms", 1e-3), ("h", 3_600), ("m", 60), ("s", 1)]
        var total = 0.0
        var rest = text[...]
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isNumber || $0 == "." }
            rest = rest.dropFirst(digits.count)
            guard let number = Double(digits), let unit = units.first(where: { rest.hasPrefix($0.0) }) else {
                return nil
            }
            total += number * unit.1
            rest = rest.dropFirst(unit.0.count)
        }
        return text.isEmpty ? nil : total
    }

    /// Compose's `64m`, `1gb`, `512` (bytes; powers of two) as bytes; nil: not a size.
    static func bytes(_ text: String) -> Int? {
        var unit = text.lowercased()[...]
        let digits = unit.prefix { $0.isNumber || $0 == "." }
        unit = unit.dropFirst(digits.count)
        if unit.count > 1, unit.hasSuffix("b") { unit = unit.dropLast() }
        let factors: [Substring: Double] = ["": 1, "b": 1, "k": 0x1p10, "m": 0x1p20, "g": 0x1p30]
        guard let number = Double(digits), let factor = factors[unit], number * factor < 0x1p53 else { return nil }
        return Int((number * factor).rounded())
    }
}
