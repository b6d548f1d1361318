import Foundation
import OrchestryModel
import Yams

/// YAML to and from `JSONValue`.
enum YAMLText {
    /// More values than any spec has: aliases can unfold a small file into a huge document.
    private static let maximumValues = 100_000

    /// - Parameter source: the file's name, for the message.
    /// - Throws: `CommandFailure.usage` with line and column.
    static func read(_ text: String, from source: String) throws -> JSONValue {
        let documents = try readAll(text, from: source)
        guard let document = documents.first else { throw CommandFailure.usage("\(source) is empty") }
        guard documents.count == 1 else {
            throw CommandFailure.usage(
                "\(source) holds several documents; `orchestry apply` takes them, or put each app into a file of its own"
            )
        }
        return document
    }

    /// All documents of a text, without those that hold nothing.
    /// - Parameter asWritten: every scalar but null is the text that stands there, whatever it looks like.
    /// - Throws: as `read`.
    static func readAll(_ text: String, from source: String, asWritten: Bool = false) throws -> [JSONValue] {
        do {
            let parser = try Parser(yaml: text)
            var budget = maximumValues
            var documents: [JSONValue] = []
            while let root = try parser.nextRoot() {
                let document = try value(of: root, budget: &budget, source: source, asWritten: asWritten)
                if document != .null { documents.append(document) }
            }
            return documents
        } catch let error as YamlError {
            throw CommandFailure.usage("\(source) is not YAML: \(describe(error))")
        }
    }

    private static func describe(_ error: YamlError) -> String {
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let words = [context?.text, problem].compactMap { $0 }.joined(separator: ", ")
            return "line \(mark.line), column \(mark.column): \(words)"
        case .duplicatedKeysInMapping(let duplicates, let context):
            return "line \(context.mark.line): the key \(duplicates.joined(separator: ", ")) occurs twice"
        case .reader(let problem, _, _, _):
            return problem
        default:
            return "\(error)"
        }
    }

    private static func value(
        of node: Node, budget: inout Int, source: String, asWritten: Bool
    ) throws -> JSONValue {
        budget -= 1
        guard budget > 0 else { throw CommandFailure.usage("\(source) has more than \(maximumValues) values") }
        switch node {
        case .scalar(let scalar):
            return self.scalar(scalar, node, asWritten: asWritten)
        case .sequence(let sequence):
            var elements: [JSONValue] = []
            for element in sequence {
                elements.append(try value(of: element, budget: &budget, source: source, asWritten: asWritten))
            }
            return .array(elements)
        case .mapping(let mapping):
            var members: [String: JSONValue] = [:]
            for (key, element) in mapping {
                guard case .scalar(let name) = key else {
                    throw CommandFailure.usage("\(source) has a key that is not text")
                }
                members[name.string] = try value(
                    of: element, budget: &budget, source: source, asWritten: asWritten)
            }
            return .object(members)
        case .alias:
            throw CommandFailure.usage("\(source) has an alias to nothing")
        }
    }

    private static func scalar(_ scalar: Node.Scalar, _ node: Node, asWritten: Bool) -> JSONValue {
        // Only plain scalars have a type other than text.
        guard scalar.style == .plain || scalar.style == .any else { return .string(scalar.string) }
        switch Resolver.default.resolveTag(of: node) {
        case .null: return .null
        case _ where asWritten: return .string(scalar.string)
        case .bool: return node.bool.map { .bool($0) } ?? .string(scalar.string)
        case .int: return node.int.map { JSONValue($0) } ?? .string(scalar.string)
        case .float: return node.float.map { JSONValue($0) } ?? .string(scalar.string)
        default: return .string(scalar.string)
        }
    }

    // MARK: Writing

    /// Block style, keys sorted, ends in a newline. Text is quoted (as JSON) whenever a reader of YAML 1.1 or 1.2 could
    /// take it for something else.
    static func write(_ value: JSONValue) -> String {
        var lines: [String] = []
        append(value, indent: 0, lead: "", to: &lines)
        return lines.joined(separator: "\n") + "\n"
    }

    /// - Parameter lead: what stands before the value on its first line, indentation included.
    private static func append(_ value: JSONValue, indent: Int, lead: String, to lines: inout [String]) {
        let space = String(repeating: " ", count: indent)
        switch value {
        case .object(let members) where !members.isEmpty:
            if lead.hasSuffix(":") { lines.append(lead) }
            for (position, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                let start = position == 0 && lead.hasSuffix("- ") ? lead : space
                append(member.value, indent: indent + 2, lead: "\(start)\(scalar(member.key)):", to: &lines)
            }
        case .array(let elements) where !elements.isEmpty:
            if lead.hasSuffix(":") { lines.append(lead) }
            for (position, element) in elements.enumerated() {
                let start = position == 0 && lead.hasSuffix("- ") ? lead : space
                append(element, indent: indent + 2, lead: "\(start)- ", to: &lines)
            }
        case .null, .bool, .int, .double, .string, .array, .object:
            let text =
                switch value {
                case .string(let text): scalar(text)
                default: value.jsonText()
                }
            lines.append(lead.hasSuffix(":") ? "\(lead) \(text)" : lead + text)
        }
    }

    private static let words: Set<String> = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]

    private static func scalar(_ text: String) -> String {
        func isLetter(_ byte: UInt8) -> Bool { (97...122).contains(byte | 0x20) }
        let isPlain =
            text.utf8.first.map { isLetter($0) || $0 == UInt8(ascii: "/") } == true
            && text.utf8.allSatisfy { isLetter($0) || " _./:+=()-0123456789".utf8.contains($0) }
            && !text.contains(": ") && !text.hasSuffix(":") && !text.hasSuffix(" ")
            && !words.contains(text.lowercased())
        return isPlain ? text : JSONValue.string(text).jsonText()
    }
}
