import Dispatch
import Foundation
import Logging
import OrchestryModel

/// Remembers which images this node pulled for which app, in a file of its own, so that only those are ever removed: the
/// last few of each app stay, for restarts and rollbacks.
package actor ImageKeeper {
    struct Entry: Codable, Hashable {
        var image: String
        var app: AppName
        /// When an instance last needed it.
        var usedAt: WallTime
    }

    // Files block: never on the cooperative pool. Serial, so that the last state written is the last there was.
    private let queue = DispatchQueue(label: "orchestry.images")
    private let path: String
    private let keep: Int
    private let logger: Logger
    private var entries: [Entry]

    /// - Parameters:
    ///   - keep: images of each app that stay; 0: all.
    ///   - path: of the file; one that can't be read is begun anew, which only means that its images stay.
    package init(path: String, keep: Int, logger: Logger) {
        self.path = path
        self.keep = keep
        self.logger = logger
        do {
            entries = try JSONDecoder().decode([Entry].self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            entries = []
            if FileManager.default.fileExists(atPath: path) {
                logger.warning(
                    "The list of pulled images can't be read; what is in it stays for ever",
                    metadata: ["path": "\(path)", "error": "\(error)"])
            }
        }
    }

    /// - Parameter pulled: whether it came just now; an image that was there before is not ours to remove.
    package func used(_ image: String, by app: AppName, pulled: Bool, at time: WallTime) async {
        if let index = entries.firstIndex(where: { $0.image == image && $0.app == app }) {
            entries[index].usedAt = time
        } else if pulled || entries.contains(where: { $0.image == image }) {
            entries.append(Entry(image: image, app: app, usedAt: time))
        } else {
            return
        }
        await save()
    }

    /// Takes what no app needs any more off the engine. What a container still uses, or what the engine can't remove now,
    /// stays for another time.
    package func removeSurplus(from engine: DockerEngine) async {
        for image in surplus() {
            do {
                guard try await engine.removeImage(image) else { continue }
                // Asked for again while it went: then it was pulled again, and is remembered.
                guard surplus().contains(image) else { continue }
                entries.removeAll { $0.image == image }
                await save()
                logger.info("Removed an image no app needs any more", metadata: ["image": "\(image)"])
            } catch {
                logger.debug("An old image can't be removed yet", metadata: ["image": "\(image)", "error": "\(error)"])
            }
        }
    }

    /// Images beyond the last ones of every app that used them, the longest unused first.
    package func surplus() -> [String] {
        guard keep > 0 else { return [] }
        var kept: Set<String> = []
        for (_, ofApp) in Dictionary(grouping: entries, by: \.app) {
            kept.formUnion(ofApp.sorted { $0.usedAt > $1.usedAt }.prefix(keep).map(\.image))
        }
        let old = entries.filter { !kept.contains($0.image) }.sorted { $0.usedAt < $1.usedAt }.map(\.image)
        var seen: Set<String> = []
        return old.filter { seen.insert($0).inserted }
    }

    private func save() async {
        let (path, entries, logger) = (path, entries, logger)
        await withCheckedContinuation { continuation in
            queue.async {
                do {
                    try JSONEncoder().encode(entries).write(to: URL(fileURLWithPath: path), options: .atomic)
                } catch {
                    logger.warning(
                        "The list of pulled images can't be kept", metadata: ["path": "\(path)", "error": "\(error)"])
                }
                continuation.resume()
            }
        }
    }
}
