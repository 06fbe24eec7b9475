"""The dashboard as WSGI: ``gunicorn app:server``, or ``python app.py`` on a laptop."""

from insidessl_dash.dashboard.factory import create_app, create_services

if __name__ == "__main__":
    from insidessl_dash.cli import main

    main()
elif __name__ != "__mp_main__":  # a worker process started from here reads this file again
    services = create_services()
    app = create_app(services=services)
    server = app.server
    services.warm()
