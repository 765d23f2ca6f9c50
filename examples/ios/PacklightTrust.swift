// Metadata that a device believes: the client of The Update Framework 1.0, sections 5.3 to 5.6, for
// ed25519, SHA-256 and consistent snapshots. Each role is kept once it is verified, so that a host
// can not go back to an older one.
import CryptoKit
import Foundation

struct Trust {
    /// A path below the repository and the most bytes; throws URLError.fileDoesNotExist for none.
    let host: (String, Int) async throws -> Data
    let folder: URL
    private var now: Date { Date() }

    init(host: @escaping (String, Int) async throws -> Data, folder: URL) {
        (self.host, self.folder) = (host, folder)
    }

    /// The bytes of a target, from the root that the app shipped with.
    func target(root shipped: Data, path: String) async throws -> Data {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        var root = try signed(shipped, "root")
        try verify(shipped, "root", by: root)
        for _ in 0..<256 {  // each root is signed by the keys of the one before, and by its own
            let next = try number(root["version"]) + 1
            let data: Data
            do { data = try await host("metadata/\(next).root.json", 512_000) }
            catch let problem as URLError where problem.code == .fileDoesNotExist { break }
            let following = try signed(data, "root")
            try verify(data, "root", by: root)
            try verify(data, "root", by: following)
            guard try number(following["version"]) == next else { throw Refused(text: "a root is skipped") }
            root = following
        }
        try fresh(root)
        let timestamp = try await self.timestamp(root)
        let snapshot = try await role("snapshot", meta(timestamp, "snapshot.json"), root)
        let targets = try await role("targets", meta(snapshot, "targets.json"), root)
        guard let told = try object(targets["targets"])[path] as? Object else {
            throw Refused(text: "there is no \(path)")
        }
        let parts = path.split(separator: "/")
        let place = "targets/\(parts.dropLast().joined(separator: "/"))/\(try hash(told)).\(parts.last!)"
        let kept = folder.appendingPathComponent("index.json")
        if let data = try? Data(contentsOf: kept), (try? matches(data, told)) == true { return data }
        let data = try await host(place, number(told["length"], 8 << 20))
        guard try matches(data, told) else { throw Refused(text: "\(path) is not what was signed") }
        try data.write(to: kept, options: .atomic)
        return data
    }

    private func timestamp(_ root: Object) async throws -> Object {
        let old = believed("timestamp", root)
        let data = try await host("metadata/timestamp.json", 16_384)
        let found = try signed(data, "timestamp")
        try verify(data, "timestamp", by: root)
        if let old = old {
            try risen(old, found)
            try risen(meta(old, "snapshot.json"), meta(found, "snapshot.json"))
            if try number(old["version"]) == number(found["version"]) {
                try fresh(old)
                return old
            }
        }
        try fresh(found)
        try data.write(to: file("timestamp"), options: .atomic)
        return found
    }

    /// Snapshot or targets, as the role above says that they are.
    private func role(_ role: String, _ told: Object, _ root: Object) async throws -> Object {
        let old = believed(role, root)
        var data = (try? Data(contentsOf: file(role))) ?? Data()
        if try old == nil || !matches(data, told) {
            let name = "\(try number(told["version"])).\(role).json"
            data = try await host("metadata/\(name)", number(told["length"], 8 << 20))
            guard try matches(data, told) else { throw Refused(text: "\(name) is not what was signed") }
        }
        let found = try signed(data, role)
        try verify(data, role, by: root)
        guard try number(found["version"]) == number(told["version"]) else {
            throw Refused(text: "\(role) has another version")
        }
        if let old = old {
            try risen(old, found)
            if role == "snapshot" { try risen(meta(old, "targets.json"), meta(found, "targets.json")) }
        }
        try fresh(found)
        try data.write(to: file(role), options: .atomic)
        return found
    }

    /// What the device believed before; nil where today's keys did not sign it.
    private func believed(_ role: String, _ root: Object) -> Object? {
        guard let data = try? Data(contentsOf: file(role)), let found = try? signed(data, role),
              (try? verify(data, role, by: root)) != nil else { return nil }
        return found
    }

    private func file(_ role: String) -> URL { folder.appendingPathComponent("\(role).json") }

    private func signed(_ data: Data, _ role: String) throws -> Object {
        let found = try object(try object(JSONSerialization.jsonObject(with: data))["signed"])
        guard found["_type"] as? String == role,
              (found["spec_version"] as? String ?? "").hasPrefix("1.") else {
            throw Refused(text: "this is no \(role)")
        }
        return found
    }

    /// Enough different keys that `by` names for the role have signed.
    private func verify(_ data: Data, _ role: String, by root: Object) throws {
        let all = try object(JSONSerialization.jsonObject(with: data))
        let message = Data(try canonical(all["signed"] as Any).utf8)
        let rule = try object(try object(root["roles"])[role]), keys = try object(root["keys"])
        let believed = rule["keyids"] as? [String] ?? []
        var seen = Set<String>(), good = Set<String>()
        for one in try objects(all["signatures"]) {
            guard let id = one["keyid"] as? String, let text = one["sig"] as? String,
                  seen.insert(id).inserted else { throw Refused(text: "\(role) is signed twice by one key") }
            guard believed.contains(id), let key = keys[id] as? Object,
                  key["scheme"] as? String == "ed25519",
                  let held = (key["keyval"] as? Object)?["public"] as? String,
                  let raw = bytes(held), let signature = bytes(text),
                  let check = try? Curve25519.Signing.PublicKey(rawRepresentation: raw)
            else { continue }
            if check.isValidSignature(signature, for: message) { good.insert(held) }
        }
        let threshold = try number(rule["threshold"])
        guard threshold >= 1, good.count >= threshold else {
            throw Refused(text: "\(role) is not signed as it must be")
        }
    }

    private func fresh(_ found: Object) throws {
        guard let text = found["expires"] as? String, let end = ISO8601DateFormatter().date(from: text),
              end > now else {
            throw Refused(text: "metadata has expired, or this device's clock is wrong")
        }
    }

    private func risen(_ before: Object, _ after: Object) throws {
        if try number(after["version"]) < number(before["version"]) {
            throw Refused(text: "metadata is older than it was before")
        }
    }

    private func meta(_ found: Object, _ name: String) throws -> Object {
        try object(try object(found["meta"])[name])
    }

    private func hash(_ told: Object) throws -> String { try sha256(try object(told["hashes"])["sha256"]) }

    private func matches(_ data: Data, _ told: Object) throws -> Bool {
        try data.count == number(told["length"], 8 << 20) && hex(SHA256.hash(data: data)) == hash(told)
    }
}

/// The form that signatures are made over: keys sorted by their characters, no spaces, only " and \
/// escaped, no fractions. (JSONSerialization sorts keys in another order.)
func canonical(_ value: Any) throws -> String {
    switch value {
    case let one as String:
        let escaped = one.replacingOccurrences(of: "\\", with: "\\\\")
        return "\"\(escaped.replacingOccurrences(of: "\"", with: "\\\""))\""
    case let one as NSNumber:
        if CFGetTypeID(one) == CFBooleanGetTypeID() { return one.boolValue ? "true" : "false" }
        guard !CFNumberIsFloatType(one) else { throw Refused(text: "a fraction in metadata") }
        return one.stringValue
    case let one as Object:
        let keys = one.keys.sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
        let parts = try keys.map { "\(try canonical($0)):\(try canonical(one[$0] as Any))" }
        return "{\(parts.joined(separator: ","))}"
    case let one as [Any]:
        return "[\(try one.map(canonical).joined(separator: ","))]"
    case is NSNull:
        return "null"
    default:
        throw Refused(text: "metadata holds what has no canonical form")
    }
}

func object(_ value: Any?) throws -> Object {
    guard let found = value as? Object else { throw Refused(text: "an object was expected") }
    return found
}

func objects(_ value: Any?) throws -> [Object] {
    guard let found = value as? [Object] else { throw Refused(text: "a list was expected") }
    return found
}

/// A whole number from 0 to `most`.
func number(_ value: Any?, _ most: Int = Int(Int32.max)) throws -> Int {
    guard let found = value as? NSNumber, CFGetTypeID(found) != CFBooleanGetTypeID(),
          !CFNumberIsFloatType(found), (0...most).contains(found.intValue) else {
        throw Refused(text: "a number up to \(most) was expected")
    }
    return found.intValue
}

/// Names of versions and files: nothing that leads out of a folder.
func plain(_ value: Any?) throws -> String {
    let form = "^[A-Za-z0-9_]+([._-][A-Za-z0-9_]+)*$"
    guard let found = value as? String, found.count <= 64,
          found.range(of: form, options: .regularExpression) != nil else {
        throw Refused(text: "no plain name")
    }
    return found
}

func sha256(_ value: Any?) throws -> String {
    guard let found = value as? String, bytes(found)?.count == 32, found == found.lowercased() else {
        throw Refused(text: "no SHA-256 in hexadecimal")
    }
    return found
}

func hex<Digest: Sequence>(_ digest: Digest) -> String where Digest.Element == UInt8 {
    digest.map { String(format: "%02x", $0) }.joined()
}

func bytes(_ digits: String) -> Data? {
    let values = digits.compactMap(\.hexDigitValue)
    guard values.count == digits.utf8.count, values.count % 2 == 0 else { return nil }
    return Data(stride(from: 0, to: values.count, by: 2).map { UInt8(values[$0] << 4 | values[$0 + 1]) })
}
