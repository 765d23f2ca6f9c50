// One network of a packlight repository on one device, brought up to date or left as it is.
//
//     let updates = PacklightUpdates(url: url, name: "letters", folder: folder, root: root,
//                                    runtime: "coreml")
//     let version = try await updates.update()
//     let file = updates.current()   // nil before the first version; asks nobody
//
// iOS 15, macOS 12; CryptoKit for ed25519 and SHA-256, CPacklight (native/include) to unpack. The
// same rules as docs/delivery.md, except that it keeps one version, and chains no differences: it
// takes the one from the version in use, or the whole file, whichever has fewer bytes.
import CPacklight
import CryptoKit
import Foundation

struct Refused: Error { let text: String }  // what is served can not be trusted or used

typealias Object = [String: Any]

actor PacklightUpdates {
    private let url: URL, name: String, folder: URL, root: Data, runtime: String, os: String?
    private let session: URLSession

    init(url: URL, name: String, folder: URL, root: Data, runtime: String, os: String? = nil,
         session: URLSession = PacklightUpdates.patient()) {
        (self.url, self.name, self.folder, self.root) = (url, name, folder, root)
        (self.runtime, self.os, self.session) = (runtime, os, session)
    }

    /// Not over networks that cost, and 20 seconds without a byte are the end.
    static func patient() -> URLSession {
        let settings = URLSessionConfiguration.ephemeral
        settings.allowsExpensiveNetworkAccess = false
        settings.allowsConstrainedNetworkAccess = false
        settings.timeoutIntervalForRequest = 20
        return URLSession(configuration: settings)
    }

    /// The file in use, or for Core ML the folder.
    nonisolated func current() -> URL? {
        guard let told = try? pointer(), let current = told["current"] as? Object,
              let path = current["path"] as? String, !path.contains("..") else { return nil }
        return folder.appendingPathComponent(path)
    }

    /// The version in use after asking for a newer one.
    func update() async throws -> String? {
        let trust = Trust(host: { try await self.get($0, $1) },
                          folder: folder.appendingPathComponent(".packlight"))
        let index = try await trust.target(root: root, path: "\(name)/stable.json")
        var told = (try? pointer()) ?? ["format": 1, "name": name, "previous": [Any](),
                                        "bad": [String](), "install": UUID().uuidString.lowercased()]
        try write(told)  // the device keeps its id from its first try
        let now = told["current"] as? Object
        guard let (version, variant) = try chosen(index, told) else {
            return now?["version"] as? String
        }
        let wanted = try sha256(variant["sha256"])
        if now?["version"] as? String == version, now?["sha256"] as? String == wanted {
            return version
        }
        let place = "versions/\(version)-\(wanted.prefix(12))"
        let made = try await unpacked(variant, now)
        try made.write(to: folder.appendingPathComponent(place))
        let file = try plain(variant["file"])
        told["previous"] = [Any]()
        told["current"] = ["version": version, "runtime": runtime, "sha256": wanted,
                           "path": "\(place)/\(file)"]
        try write(told)
        let versions = folder.appendingPathComponent("versions")
        for old in try FileManager.default.contentsOfDirectory(atPath: versions.path)
        where "versions/\(old)" != place {
            try? FileManager.default.removeItem(at: versions.appendingPathComponent(old))
        }
        return version
    }

    /// The app can not use what it got: nothing is in use, and that version is never taken again.
    func markBad() throws {
        var told = try pointer()
        guard let current = told["current"] as? Object, let version = current["version"] else { return }
        told["bad"] = (told["bad"] as? [Any] ?? []) + [version]
        told["current"] = NSNull()
        try write(told)
    }

    /// The highest version that this device may have, and its file.
    private func chosen(_ data: Data, _ told: Object) throws -> (String, Object)? {
        let index = try object(try JSONSerialization.jsonObject(with: data))
        guard index["format"] as? Int == 1, index["name"] as? String == name,
              index["channel"] as? String == "stable" else {
            throw Refused(text: "the index tells of something else, or is newer than this app")
        }
        let now = (told["current"] as? Object)?["version"] as? String
        let bad = told["bad"] as? [String] ?? []
        for one in try objects(index["versions"]).reversed() {
            let version = try plain(one["version"]), share = one["rollout"] as? Double ?? 1
            let variants = try objects(one["variants"]).filter {
                $0["runtime"] as? String == runtime && runs($0["min_os"] as? String)
                    && $0["min_ram"] == nil  // this client does not tell its RAM
            }
            guard let variant = variants.first, one["withdrawn"] as? Bool != true,
                  !bad.contains(version) else { continue }
            if version == now || chance(told, version) < share { return (version, variant) }
        }
        return nil
    }

    /// Where this device stands in a version's rollout, 0 to 1.
    private func chance(_ told: Object, _ version: String) -> Double {
        let text = "\(told["install"] as? String ?? "")/\(name)/\(version)"
        let number = SHA256.hash(data: Data(text.utf8)).prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return Double(number) / 18446744073709551616
    }

    private func runs(_ wanted: String?) -> Bool {
        guard let wanted = wanted else { return true }
        let least = wanted.split(separator: "-"), mine = (os ?? "-").split(separator: "-")
        guard least.count == 2, mine.count == 2, least[0] == mine[0] else { return false }
        return mine[1].compare(least[1], options: .numeric) != .orderedAscending
    }

    /// The file's parts, verified: the difference to what is in use, or all of it.
    private func unpacked(_ variant: Object, _ now: Object?) async throws -> Unpacked {
        let size = try number(variant["bytes"], 1 << 31), wanted = try sha256(variant["sha256"])
        var packed = try object(variant["full"]), base: Data?
        if let sha = now?["sha256"] as? String, let held = current().flatMap(content),
           hex(SHA256.hash(data: held)) == sha,
           let delta = try objects(variant["deltas"]).first(where: { $0["from"] as? String == sha }),
           try number(delta["bytes"], 1 << 31) < number(packed["bytes"], 1 << 31) {
            (packed, base) = (delta, held)
        }
        let hash = try sha256(packed["sha256"]), length = try number(packed["bytes"], 1 << 31)
        let data = try await get("files/\(hash).plt", length)
        guard data.count == length, hex(SHA256.hash(data: data)) == hash else {
            throw Refused(text: "a file is not what was signed")
        }
        let made = try unpack(data, base: base, size: size, file: try plain(variant["file"]))
        guard hex(SHA256.hash(data: made.raw)) == wanted else {
            throw Refused(text: "a file unpacks to something else than was signed")
        }
        return made
    }

    /// A body of `most` bytes at most. For larger files a background session: docs/apps-ios.md.
    private func get(_ path: String, _ most: Int) async throws -> Data {
        let (bytes, response) = try await session.bytes(from: url.appendingPathComponent(path))
        let status = (response as? HTTPURLResponse)?.statusCode ?? 0
        if status == 404 || status == 403 { throw URLError(.fileDoesNotExist) }
        if status >= 500 { throw URLError(.badServerResponse) }
        guard status == 200 else { throw Refused(text: "\(path) is answered with HTTP \(status)") }
        var data = Data()
        for try await byte in bytes {
            if data.count == most { throw Refused(text: "\(path) is longer than was signed") }
            data.append(byte)
        }
        return data
    }

    nonisolated private func pointer() throws -> Object {
        let told = try object(JSONSerialization.jsonObject(
            with: Data(contentsOf: folder.appendingPathComponent("current.json"))))
        guard told["name"] as? String == name else { throw Refused(text: "another network's folder") }
        return told
    }

    private func write(_ told: Object) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try JSONSerialization.data(withJSONObject: told)
            .write(to: folder.appendingPathComponent("current.json"), options: .atomic)
    }
}

/// A file, or the files of a folder as they lie one after the other.
struct Unpacked {
    let raw: Data, file: String, members: [(name: String, range: Range<Int>, isFolder: Bool)]

    func write(to folder: URL) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let whole = folder.appendingPathComponent(file)
        if members.isEmpty { return try raw.write(to: whole, options: .atomic) }
        for one in members {
            let place = whole.appendingPathComponent(one.name)
            let inside = one.isFolder ? place : place.deletingLastPathComponent()
            try FileManager.default.createDirectory(at: inside, withIntermediateDirectories: true)
            if !one.isFolder { try raw[one.range].write(to: place) }
        }
    }
}

/// With the C decoder; `base` is the file that a difference is one to.
func unpack(_ packed: Data, base: Data?, size: Int, file name: String) throws -> Unpacked {
    func check(_ problem: Int32) throws {
        if problem != 0 { throw Refused(text: String(cString: plt_error_text(problem))) }
    }
    let held = base ?? Data()
    return try packed.withUnsafeBytes { (bytes: UnsafeRawBufferPointer) -> Unpacked in
        try held.withUnsafeBytes { (old: UnsafeRawBufferPointer) -> Unpacked in
            var file = plt_file()
            try check(plt_open(&file, bytes.baseAddress, bytes.count))
            if base != nil { try check(plt_set_base(&file, old.baseAddress, old.count)) }
            guard file.size == UInt64(size) else { throw Refused(text: "another size than was signed") }
            var out = Data(count: size)
            let work = UnsafeMutableRawPointer.allocate(byteCount: plt_work_size(), alignment: 64)
            defer { work.deallocate() }
            try out.withUnsafeMutableBytes {
                try check(plt_unpack(&file, $0.baseAddress, size, work, plt_work_size()))
            }
            var members: [(name: String, range: Range<Int>, isFolder: Bool)] = []
            var member = plt_member()
            while members.count < Int(file.members) {
                try check(plt_next_member(&file, &member))
                let text = UnsafeRawBufferPointer(start: member.name, count: member.name_size)
                let start = Int(member.offset)
                members.append((String(decoding: text, as: UTF8.self),
                                start..<start + Int(member.size), member.is_folder != 0))
            }
            return Unpacked(raw: out, file: name, members: members)
        }
    }
}

/// A file's bytes; of a folder, its files one after the other in the order of their names.
func content(_ place: URL) -> Data? {
    guard (try? place.resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory == true else {
        return try? Data(contentsOf: place, options: .alwaysMapped)
    }
    return nil  // differences of Core ML packages are left out here: the whole file is taken
}
