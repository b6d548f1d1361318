import Foundation

/// A `.env` file: `NAME=value` lines. Values may be in single quotes (taken as they are) or double quotes (`\n`, `\"`,
/// `\\`); `export` before a name, empty lines and lines that begin with `#` are passed over, and so is ` #` and what follows
/// it after a value without quotes. Nothing is substituted.
package struct EnvironmentFile: Sendable {
    package let path: String
    package let variables: [String: String]

    /// - Throws: `ConfigurationError` with every line that is something else, by number, never with its content.
    package init(path: String) throws {
        let text: String
        do {
            text = try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw ConfigurationError(problems: ["\(path) can't be read: \(error.localizedDescription)"])
        }
        var variables: [String: String] = [:]
        var problems: [String] = []
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            var rest = line.trimmingCharacters(in: .whitespaces)
            if rest.isEmpty || rest.hasPrefix("#") { continue }
            if rest.hasPrefix("export ") { rest = rest.dropFirst(7).trimmingCharacters(in: .whitespaces) }
            guard let equals = rest.firstIndex(of: "="), let value = Self.value(rest[rest.index(after: equals)...]),
                let name = rest[..<equals].wholeMatch(of: /([A-Za-z_][A-Za-z0-9_]*)[ \t]*/)?.1
            else {
                problems.append("\(path), line \(index + 1) must have the form NAME=value")
                continue
            }
            variables[String(name)] = value
        }
        guard problems.isEmpty else { throw ConfigurationError(problems: problems) }
        self.path = path
        self.variables = variables
    }

    /// nil: a quote is not closed, or something follows it.
    private static func value(_ text: Substring) -> String? {
        let text = text.drop { $0 == " " || $0 == "\t" }
        guard let quote = text.first, quote == "'" || quote == "\"" else {
            let end = text.firstRange(of: " #")?.lowerBound ?? text.endIndex
            return text[..<end].trimmingCharacters(in: .whitespaces)
        }
        var result = ""
        var characters = text.dropFirst().makeIterator()
        while let character = characters.next() {
            if character == quote {
                var rest = ""
                while let next = characters.next() { rest.append(next) }
                rest = rest.trimmingCharacters(in: .whitespaces)
                return rest.isEmpty || rest.hasPrefix("#") ? result : nil
            }
            guard character == "\\", quote == "\"" else {
                result.append(character)
                continue
            }
            switch characters.next() {
            case "n"?: result.append("\n")
            case let next?: result.append(next)
            case nil: return nil
            }
        }
        return nil
    }
}
