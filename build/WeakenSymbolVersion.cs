using System;
using System.IO;
using System.Text;
using Microsoft.Build.Framework;
using Microsoft.Build.Utilities;

/// <summary>
/// Marks one symbol version that a 64-bit little-endian ELF library demands as weak, so that the loader no longer
/// refuses the library where the version is missing. Why that is right for TorchSharp: docs/torchsharp-debian12.md.
/// </summary>
/// <remarks>
/// Structures: System V gABI (section headers), Linux Standard Base, "Symbol Versioning" (Verneed, Vernaux).
/// The file is replaced, never changed in place: a copy in an output folder may be a hard link into the package cache.
/// Size and time stay as they were, so that an incremental build does not take the copy for an outdated one.
/// MSBuild compiles this file against netstandard2.0 without nullable annotations.
/// </remarks>
public sealed class WeakenSymbolVersion : Task
{
    private const uint VersionNeeds = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort Weak = 0x2; // VER_FLG_WEAK

    /// <summary>The libraries to change.</summary>
    [Required]
    public string[] Libraries { get; set; }

    /// <summary>The version, such as GLIBCXX_3.4.32.</summary>
    [Required]
    public string Version { get; set; }

    /// <inheritdoc/>
    public override bool Execute()
    {
        foreach (var library in Libraries)
        {
            var flags = FindFlags(File.ReadAllBytes(library));
            if (flags is null)
                continue;

            SetWeak(library, flags.Value);
            Log.LogMessage(
                MessageImportance.High,
                "{0}: marked the demand for {1} as weak, so that TorchSharp loads with an older libstdc++ (docs/torchsharp-debian12.md)",
                library, Version);
        }

        return !Log.HasLoggedErrors;
    }

    /// <summary>Offset of the flags to change; null when the version is not demanded or weak already.</summary>
    private int? FindFlags(byte[] elf)
    {
        if (elf.Length < 64 || BitConverter.ToUInt32(elf, 0) != 0x464c457f || elf[4] != 2 || elf[5] != 1)
            return null;

        var sections = (int)BitConverter.ToInt64(elf, 0x28);
        int entrySize = BitConverter.ToUInt16(elf, 0x3a);
        int count = BitConverter.ToUInt16(elf, 0x3c);
        for (var i = 0; i < count; i++)
        {
            var section = sections + i * entrySize;
            if (BitConverter.ToUInt32(elf, section + 4) != VersionNeeds)
                continue;

            var names = SectionOffset(elf, sections + BitConverter.ToInt32(elf, section + 0x28) * entrySize);
            var need = SectionOffset(elf, section);
            for (var next = -1; next != 0; need += next)
            {
                var aux = need + BitConverter.ToInt32(elf, need + 8);
                for (var nextAux = -1; nextAux != 0; aux += nextAux)
                {
                    if (NameEquals(elf, names + BitConverter.ToInt32(elf, aux + 8)))
                        return (BitConverter.ToUInt16(elf, aux + 4) & Weak) == 0 ? aux + 4 : (int?)null;
                    nextAux = BitConverter.ToInt32(elf, aux + 12);
                }

                next = BitConverter.ToInt32(elf, need + 12);
            }
        }

        return null;
    }

    private static int SectionOffset(byte[] elf, int section) => (int)BitConverter.ToInt64(elf, section + 0x18);

    private bool NameEquals(byte[] elf, int offset) =>
        elf[offset + Version.Length] == 0 && Encoding.ASCII.GetString(elf, offset, Version.Length) == Version;

    private static void SetWeak(string library, int flags)
    {
        var time = File.GetLastWriteTimeUtc(library);
        var copy = library + "." + Guid.NewGuid().ToString("N");
        File.Copy(library, copy); // a new file with the old mode
        File.SetAttributes(copy, FileAttributes.Normal);
        using (var stream = File.Open(copy, FileMode.Open, FileAccess.ReadWrite))
        {
            stream.Position = flags;
            var low = stream.ReadByte();
            stream.Position = flags;
            stream.WriteByte((byte)(low | Weak));
        }

        File.SetLastWriteTimeUtc(copy, time);
        File.Replace(copy, library, null); // rename(2): a process that has the old file mapped keeps it
    }
}
