import Foundation

/// A node's certificate files, as they were at one moment.
public struct TLSMaterial: Hashable, Sendable {
    /// PEM: the certificates of the authorities that are trusted, one or (while they are rotated) several.
    public var authorities: [UInt8]
    /// PEM: the node's certificate, then intermediate ones if there are any.
    public var certificate: [UInt8]
    /// PEM: the node's private key. Never to be logged.
    public var key: [UInt8]

    /// No certificate file is anywhere near this long; another file given by mistake might be.
    private static let largestFile = 1 << 20

    public init(authorities: [UInt8], certificate: [UInt8], key: [UInt8]) {
        self.authorities = authorities
        self.certificate = certificate
        self.key = key
    }

    /// Reads the three files: blocks.
    /// - Throws: `PeerError.cannotStart` that names the file which can't be read.
    public init(caPath: String, certificatePath: String, keyPath: String) throws(PeerError) {
        authorities = try Self.read(caPath)
        certificate = try Self.read(certificatePath)
        key = try Self.read(keyPath)
    }

    private static func read(_ path: String) throws(PeerError) -> [UInt8] {
        do {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            // Only read from: closing can't lose anything.
            defer { try? file.close() }
            let data = try file.read(upToCount: largestFile + 1) ?? Data()
            guard data.count <= largestFile else { throw PeerError.cannotStart("\(path) is not a PEM file: too long") }
            return Array(data)
        } catch let error as PeerError {
            throw error
        } catch {
            throw .cannotStart("\(path) can't be read: \(error.localizedDescription)")
        }
    }
}
