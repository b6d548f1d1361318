import Foundation
import OrchestryModel

/// Documents of apps as files, folders and standard input hold them.
struct SpecFile {
    /// What a message calls it: the file, and which of its documents where it has several.
    var source: String
    var document: JSONValue

    /// As the document claims it; `?` where it names none.
    var app: String { document["metadata"]?["name"]?.stringValue ?? "?" }

    /// The one document of a file.
    /// - Parameter file: `-` reads standard input.
    /// - Throws: `CommandFailure.usage`.
    static func read(_ file: String) throws -> JSONValue {
        let content = try content(of: file)
        if let json = try json(content, file) { return json }
        return try YAMLText.read(try text(content, file), from: name(of: file))
    }

    /// Every document of the files and folders, in the order given; a folder's `.yaml`, `.yml` and `.json` files by name,
    /// without those of folders in it and hidden ones.
    /// - Throws: `CommandFailure.usage`, also when there is no document at all.
    static func readAll(_ paths: [String]) throws -> [SpecFile] {
        var files: [SpecFile] = []
        for path in paths {
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue {
                for name in try names(in: path) { files += try documents(of: "\(path)/\(name)") }
            } else {
                files += try documents(of: path)
            }
        }
        guard !files.isEmpty else { throw CommandFailure.usage("\(paths.joined(separator: ", ")): no documents there") }
        return files
    }

    private static func names(in folder: String) throws -> [String] {
        let all: [String]
        do {
            all = try FileManager.default.contentsOfDirectory(atPath: folder)
        } catch {
            throw CommandFailure.usage("the folder \(folder) cannot be read: \(error.localizedDescription)")
        }
        let names = all.filter { name in
            !name.hasPrefix(".") && [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        }.sorted()
        guard !names.isEmpty else {
            throw CommandFailure.usage("the folder \(folder) holds no .yaml, .yml or .json file")
        }
        return names
    }

    private static func documents(of file: String) throws -> [SpecFile] {
        let content = try content(of: file)
        let name = name(of: file)
        if let json = try json(content, file) { return [SpecFile(source: name, document: json)] }
        let documents = try YAMLText.readAll(try text(content, file), from: name)
        return documents.enumerated().map { index, document in
            SpecFile(
                source: documents.count == 1 ? name : "\(name) (document \(index + 1))", document: document)
        }
    }

    // MARK: Reading

    private static func name(of file: String) -> String { file == "-" ? "standard input" : file }

    static func content(of file: String) throws -> Data {
        if file == "-" { return FileHandle.standardInput.readDataToEndOfFile() }
        guard FileManager.default.fileExists(atPath: file) else {
            throw CommandFailure.usage("there is no file \(file)")
        }
        guard let content = FileManager.default.contents(atPath: file) else {
            throw CommandFailure.usage("\(file) cannot be read")
        }
        return content
    }

    static func text(_ content: Data, _ file: String) throws -> String {
        guard let text = String(bytes: content, encoding: .utf8) else {
            throw CommandFailure.usage("\(name(of: file)) is not UTF-8 text")
        }
        return text
    }

    /// nil: it is not meant to be JSON. JSON from a pipe has no name to go by. (It is YAML too, but JSON's messages and
    /// numbers are exact.)
    private static func json(_ content: Data, _ file: String) throws -> JSONValue? {
        let first = content.first { !" \t\r\n".utf8.contains($0) }
        guard file.hasSuffix(".json") || file == "-" && first == UInt8(ascii: "{") else { return nil }
        do {
            return try JSONValue(json: content)
        } catch {
            throw CommandFailure.usage("\(name(of: file)) is not JSON: \(error)")
        }
    }
}
