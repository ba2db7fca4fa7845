using KvCache.Silo.Options;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;

namespace KvCache.Silo.Security;

/// <summary>Registration of the locks on Orleans' ports and calls.</summary>
internal static class OrleansDoorServices
{
    /// <summary>Gives connections at Orleans' ports places before anything is done for them. Ahead of TLS.</summary>
    public static void AddOrleansPlaces(this ISiloBuilder silo) =>
        silo.Services.AddOptions<SiloConnectionOptions>().Configure<OrleansDoors>((connections, doors) =>
        {
            connections.ConfigureSiloInboundConnection(connection => connection.Use(doors.PlaceSilo));
            connections.ConfigureGatewayInboundConnection(connection => connection.Use(doors.PlaceClient));
        });

    /// <summary>Adds them to a silo, behind everything that registers placements.</summary>
    public static void AddOrleansDoors(this ISiloBuilder silo, IConfiguration configuration)
    {
        var services = silo.Services;
        services.AddOptions<OrleansDoorOptions>().Bind(configuration.GetSection(OrleansDoorOptions.Section)).ValidateDataAnnotations()
            .ValidateOnStart();
        services.AddSingleton<ClusterSecrets>();
        services.AddSingleton<ClusterEntry>();
        services.AddSingleton<TicketOffice>();
        services.AddSingleton<CallGuard>();
        services.AddSingleton<OrleansDoors>();
        services.AddSingleton<IIncomingGrainCallFilter>(provider => provider.GetRequiredService<CallGuard>());
        GuardedCalls.Register(services);
        GuardedPlacement.GuardAll(services);

        // The middleware of Orleans' connections, outermost first: places, encryption, proofs.
        services.AddOptions<SiloConnectionOptions>().Configure<OrleansDoors>((connections, doors) =>
        {
            doors.TellWhatIsOpen();
            connections.ConfigureSiloInboundConnection(connection => connection.Use(doors.AcceptSilo));
            connections.ConfigureSiloOutboundConnection(connection => connection.Use(doors.ConnectSilo));
            connections.ConfigureGatewayInboundConnection(connection => connection.Use(doors.AcceptClient));
        });
    }
}
