import ArgumentParser
import Foundation
import OrchestryModel
import RecordArchive

struct Backup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Write all control state to a file.",
        discussion: """
            Apps with their revisions, secrets (sealed; keep the key file elsewhere), runtime settings, API tokens (hashed) \
            and cordoned nodes. Not what is observed: instances, metrics, events.

            Example: orchestry backup "control-$(date +%F).json"
            """)
    @Argument(help: "The file; readable for you only.") var file: String
    @Flag(help: "Replace a file that is there.") var force = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        guard force || !FileManager.default.fileExists(atPath: file) else {
            throw CommandFailure.usage("\(file) exists; --force replaces it")
        }
        try await options.withClient { client in
            let answer = try await client.get("/backup")
            let backup: ControlBackup
            do {
                backup = try ControlBackup(answer)
            } catch {
                throw CommandFailure.local("the server's answer is not a whole backup: \(error)")
            }
            try write(Array(answer.jsonText(pretty: true).utf8) + [UInt8(ascii: "\n")])
            let counts = backup.tables.sorted { $0.key < $1.key }.map { "\($0.value.count) \($0.key)" }
            Output.show(
                ["file": .string(file), "checksum": .string(backup.checksum), "cluster": .string(backup.cluster)],
                as: options.output
            ) { _ in
                "\(file): cluster \(backup.cluster), \(counts.joined(separator: ", ")), \(backup.checksum)"
            }
        }
    }

    /// Whole or not at all.
    private func write(_ bytes: [UInt8]) throws {
        let partial = file + ".partial"
        unlink(partial)
        let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure.local("\(partial) can't be written: \(String(cString: strerror(errno)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: Data(bytes))
            try handle.synchronize()
            guard rename(partial, file) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        } catch {
            unlink(partial)
            throw CommandFailure.local("\(file) can't be written: \(error.localizedDescription)")
        }
    }
}

struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Take over the control state of a backup.",
        discussion: """
            All of it or nothing. Into an empty cluster, unless --merge is given: then what is there already stays as it is, \
            and what is missing is added. With secrets in the backup, the nodes need the key file and the cluster.id of the \
            cluster it was made from. Apps that ran when it was made are started.

            Example: orchestry restore control-2026-11-29.json
            """)
    @Argument(help: "What `orchestry backup` wrote.") var file: String
    @Flag(help: "Also into a cluster that has apps or secrets.") var merge = false
    @OptionGroup var options: GlobalOptions

    func run() async throws {
        guard let content = FileManager.default.contents(atPath: file) else {
            throw CommandFailure.usage("\(file) can't be read")
        }
        let document: JSONValue
        do {
            document = try JSONValue(json: content)
            _ = try ControlBackup(document)
        } catch let error as OrchestryModel.ValidationError {
            throw CommandFailure.usage("\(file) can't be restored: \(error)")
        } catch {
            throw CommandFailure.usage("\(file) is not JSON: \(error)")
        }
        try await options.withClient { client in
            let answer = try await client.post("/restore", document, query: merge ? [("merge", "true")] : [])
            Output.show(answer, as: options.output) { answer in
                func line(_ title: String, _ part: JSONValue?) -> String {
                    let words = ["apps", "secrets", "settings", "tokens", "cordoned"].compactMap { kind -> String? in
                        let names = (part?[kind]?.arrayValue ?? []).compactMap(\.stringValue)
                        return names.isEmpty ? nil : "\(kind) \(names.joined(separator: ", "))"
                    }
                    return "\(title): \(words.isEmpty ? "nothing" : words.joined(separator: "; "))"
                }
                return line("Restored", answer["restored"]) + "\n"
                    + line("Already there, left as it is", answer["kept"])
            }
        }
    }
}
