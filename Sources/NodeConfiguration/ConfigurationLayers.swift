import Configuration
import Foundation
import SystemPackage
import Yams

/// Everything that is wrong with a configuration, in one message.
package struct ConfigurationError: Error, CustomStringConvertible {
    package var problems: [String]
    package init(problems: [String]) { self.problems = problems }
    package var description: String {
        "The configuration has \(problems.count) problem\(problems.count == 1 ? "" : "s"):\n"
            + problems.map { "  - \($0)" }.joined(separator: "\n")
    }
}

/// One setting as found, and where.
package struct ConfigurationEntry: Sendable {
    package var key: ConfigurationKey
    package var text: String
    /// `default`, `file <path>`, `<NAME> in <.env file>`, `environment <NAME>` or `run time`.
    package var source: String
    /// The value with secrets masked.
    package var shown: String { key.isSecret && !text.isEmpty ? "********" : text }
}

/// Defaults < file < `.env` file < environment, each value with its source (design §9).
package struct ConfigurationLayers: Sendable {
    package private(set) var entries: [String: ConfigurationEntry] = [:]
    private(set) var problems: [String] = []

    /// - Parameters:
    ///   - file: path of a YAML file; nil: none.
    ///   - environment: names and values; only `ORCHESTRY_…` and the original's names are looked at.
    /// - Throws: `ConfigurationError` when the file can't be read or parsed.
    package init(
        file: String?, environmentFile: EnvironmentFile? = nil, environment: [String: String]
    ) async throws {
        var fileProvider: FileProvider<YAMLSnapshot>?
        if let file {
            do {
                try findUnknownKeys(inFile: file)
                fileProvider = try await FileProvider<YAMLSnapshot>(filePath: FilePath(file))
            } catch let error as ConfigurationError {
                throw error
            } catch {
                throw ConfigurationError(problems: ["\(file) can't be read as YAML: \(error)"])
            }
        }
        let sources: [(variables: [String: String], source: (String) -> String)] =
            (environmentFile.map { file in [(file.variables, { "\($0) in \(file.path)" })] } ?? [])
            + [(environment, { "environment \($0)" })]
        for key in ConfigurationKey.catalogue {
            var found = key.defaultText.map { ConfigurationEntry(key: key, text: $0, source: "default") }
            if let fileProvider, let file, let text = value(of: key, path: key.name, in: fileProvider, named: file) {
                found = ConfigurationEntry(key: key, text: text, source: "file \(file)")
            }
            for (variables, source) in sources {
                let provider = EnvironmentVariablesProvider(environmentVariables: variables)
                for name in key.aliases.reversed() + [key.environmentName] where variables[name] != nil {
                    if let text = value(of: key, path: name, in: provider, named: source(name)) {
                        found = ConfigurationEntry(key: key, text: text, source: source(name))
                    }
                }
            }
            entries[key.name] = found
        }
        for (variables, _) in sources { findUnknownVariables(in: variables) }
    }

    /// Reads one key from one provider as text, whatever scalar type the file wrote it as.
    private mutating func value(
        of key: ConfigurationKey, path: String, in provider: any ConfigProvider, named source: String
    ) -> String? {
        let absolute = AbsoluteConfigKey(path.split(separator: ".").map(String.init))
        let types: [ConfigType] =
            switch key.kind {
            case .string, .duration: [.string, .int, .double, .bool]
            case .integer: [.int, .string]
            case .boolean: [.bool, .string]
            case .list: [.stringArray, .string]
            }
        var failure: (any Error)?
        for type in types {
            do {
                guard let value = try provider.value(forKey: absolute, type: type).value else { return nil }
                switch value.content {
                case .string(let text): return text
                case .int(let number): return String(number)
                case .double(let number): return String(number)
                case .bool(let flag): return String(flag)
                case .stringArray(let items): return items.joined(separator: ",")
                default: return nil
                }
            } catch {
                failure = error
            }
        }
        if let failure { problems.append("\(key.name) in \(source) is not a \(key.kind.rawValue): \(failure)") }
        return nil
    }

    private mutating func findUnknownKeys(inFile file: String) throws {
        let text = try String(contentsOfFile: file, encoding: .utf8)
        guard let root = try Yams.load(yaml: text) else { return }
        guard let mapping = root as? [String: Any] else {
            throw ConfigurationError(problems: ["\(file) must be a YAML mapping of sections"])
        }
        let known = Set(ConfigurationKey.catalogue.map(\.name))
        for (section, content) in mapping.sorted(by: { $0.key < $1.key }) {
            guard let members = content as? [String: Any] else {
                problems.append("\(section) in \(file) must be a section with settings below it")
                continue
            }
            for name in members.keys.sorted() where !known.contains("\(section).\(name)") {
                problems.append(
                    "\(section).\(name) in \(file) is not a setting\(Self.hint("\(section).\(name)", among: known))")
            }
        }
    }

    private mutating func findUnknownVariables(in environment: [String: String]) {
        var known = Set(ConfigurationKey.catalogue.flatMap { [$0.environmentName] + $0.aliases })
        // The CLI's, and the daemon's own `--config` and `--env-file`.
        known.formUnion(["ORCHESTRY_SERVER", "ORCHESTRY_TOKEN", "ORCHESTRY_CONFIG", "ORCHESTRY_ENV_FILE"])
        for name in environment.keys.sorted()
        where name.hasPrefix("ORCHESTRY_") && !name.hasPrefix("ORCHESTRY_DEV_") && !known.contains(name) {
            problems.append("environment variable \(name) is not a setting\(Self.hint(name, among: known))")
        }
    }

    private static func hint(_ name: String, among known: Set<String>) -> String {
        let last = name.split(whereSeparator: { $0 == "." || $0 == "_" }).last.map(String.init) ?? name
        let near = known.filter { $0.hasSuffix(last) || $0.hasPrefix(name.prefix(name.count - 1)) }.sorted()
        return near.first.map { "; did you mean \($0)?" } ?? ""
    }

    /// The same with these texts in place of what is there, by name.
    func overlaid(with texts: [String: String]) -> ConfigurationLayers {
        var layers = self
        for (name, text) in texts {
            layers.entries[name]?.text = text
            layers.entries[name]?.source = "run time"
        }
        return layers
    }

    mutating func report(_ problem: String) { problems.append(problem) }
}
