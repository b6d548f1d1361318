import ArgumentParser
import Foundation
import OrchestryModel

struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Make app specs from other tools' files.", subcommands: [ImportCompose.self])
}

struct ImportCompose: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compose", abstract: "Make an app spec of each service of a compose file.",
        discussion: """
            Prints the specs, or writes one file for each app with --to. What was used, what became something else and \
            what was not used, and why, is told on standard error, by service and key. Variables of compose ($NAME) are \
            not filled in. Nothing is asked of a cluster.
              orchestry import compose docker-compose.yml --to deploy/
              orchestry apply deploy/ --dry-run
            Exit code 1: a spec would be refused; nothing is written then.
            """)
    @Argument(help: "The compose file, or - for standard input.", completion: .file()) var file: String
    @Option(help: ArgumentHelp("Write NAME.yaml for each app into this folder.", valueName: "folder")) var to: String?
    @Flag(help: "Write over files that are there.") var overwrite = false

    func run() throws {
        let compose = try ComposeFile(SpecFile.text(SpecFile.content(of: file), file), from: file)
        Output.complain(Self.report(compose))
        let violations = compose.services.flatMap { service in
            service.violations.map { ["field": "\(service.name): \($0.field)", "rule": $0.rule] }
        }
        guard violations.isEmpty else {
            throw CommandFailure.refused(
                status: 422,
                problem: [
                    "title": "Nothing was written: specs would break rules",
                    "violations": .array(violations.map { .object($0.mapValues { .string($0) }) }),
                ])
        }
        let documents = compose.services.compactMap { service in
            service.document.map {
                (name: $0["metadata"]?["name"]?.stringValue ?? service.name, text: YAMLText.write($0))
            }
        }
        guard !documents.isEmpty else { throw CommandFailure.local("no service became an app: see above") }
        if let to {
            try write(documents, into: to)
        } else {
            print(documents.map { "---\n" + $0.text }.joined(), terminator: "")
        }
    }

    private func write(_ documents: [(name: String, text: String)], into folder: String) throws {
        let files = documents.map { "\(folder)/\($0.name).yaml" }
        if !overwrite, let taken = files.first(where: { FileManager.default.fileExists(atPath: $0) }) {
            throw CommandFailure.local(
                "\(taken) is there already: nothing was written. Add --overwrite, or name another folder")
        }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            for (file, document) in zip(files, documents) {
                try document.text.write(toFile: file, atomically: true, encoding: .utf8)
            }
        } catch {
            throw CommandFailure.local("\(folder) cannot be written: \(error.localizedDescription)")
        }
        Output.complain("Wrote \(files.joined(separator: ", ")).\nNext: orchestry apply \(folder) --dry-run")
    }

    /// One line a key, by service.
    static func report(_ compose: ComposeFile) -> String {
        func lines(_ notes: [ComposeFile.Note]) -> [String] {
            notes.map { note in
                let fate = note.fate.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)
                return "  \(fate)  \(note.key)\(note.text.isEmpty ? "" : ": \(note.text)")"
            }
        }
        let services = compose.services.flatMap { service in
            ["\(service.name):\(service.document == nil ? " no app" : "")"] + lines(service.notes)
        }
        return (services + (compose.notes.isEmpty ? [] : ["(the file):"] + lines(compose.notes)))
            .joined(separator: "\n")
    }
}
