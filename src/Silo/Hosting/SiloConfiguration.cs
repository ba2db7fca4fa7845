using System.Text.Json;
using KvCache.Files;
using KvCache.Silo.Settings;
using Microsoft.Extensions.Configuration;

namespace KvCache.Silo.Hosting;

/// <summary>The configuration of a silo.</summary>
internal static class SiloConfiguration
{
    private const int MaxBytes = 16 << 20;

    /// <summary>Puts the file and the command line above what is there, and checks all of it.</summary>
    /// <exception cref="FormatException">A setting is wrong; the message is one sentence.</exception>
    public static void Read(IConfigurationManager configuration, FileInfo? file, Dictionary<string, string?> commandLine)
    {
        if (file is not null)
            Add(configuration, file.FullName);
        configuration.AddInMemoryCollection(commandLine);
        var replaced = SettingsReader.Read((IConfigurationRoot)configuration, file?.FullName);
        MachineLimits.Check(configuration, replaced);
        configuration.AddInMemoryCollection(replaced);
    }

    private static void Add(IConfigurationManager configuration, string path)
    {
        try
        {
            configuration.AddJsonStream(new MemoryStream(RegularFile.Read(path, MaxBytes)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FormatException($"--config: {e.Message}", e);
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            throw new FormatException($"--config: '{path}' cannot be used: {e.Message}", e);
        }
    }
}
